"""The plan of a run: one YAML file, strict, resolved into a record whose digest names the run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from holdfast.audit.settings import AuditConfig
from holdfast.core.config import Config, load_yaml
from holdfast.core.digest import sha256_json
from holdfast.core.labels import SUITE_KINDS
from holdfast.core.records.verdict import Threat
from holdfast.pipeline.protect import ProtectSection
from holdfast.tuning.methods.dpo.config import DPOConfig
from holdfast.tuning.methods.rlhf.config import RLHFConfig
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.tuning.monitor_config import MonitorConfig
from holdfast.tuning.protections.rules import Setting, faults

SuiteKind = Literal[
    "harmful", "ladder", "jailbreak", "context", "benign", "helpful", "task", "statement", "truth",
    "truth-choice", "open", "crisis", "tools", "injection",
]  # fmt: skip
assert set(SuiteKind.__args__) == set(SUITE_KINDS)  # type: ignore[attr-defined]


class ModelSection(Config):
    """Which model is fine-tuned."""

    source: str
    """Folder, hub name, or `harbor` for the embedded model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision that weights are loaded in; `auto` keeps the checkpoint's."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU where there is one."""
    trust_remote_code: bool = False
    """Run code that lies in the model's repository. Off, unless you have read that code."""
    sae: str = ""
    """File or folder of a sparse autoencoder of this model, or `harbor`: the audit scores rows by
    its features, the monitor watches its harmful latents. `FILE#resid_post.L` where the file does
    not say its site."""


class DataSection(Config):
    """What it is fine-tuned on."""

    source: str
    """A JSONL, JSON or CSV file, or `harbor:<set>` for a generated set."""
    template: str = ""
    """How rows become conversations: `messages`, `question-answer`, or two columns as
    `title->summary`; found out from the columns where empty."""
    group: str = ""
    """Column whose equal values never lie in two splits (a customer, a document)."""
    rows: int | None = Field(default=None, ge=1)
    """Take this many rows for training; all where absent."""
    held_out: int = Field(default=100, ge=1)
    """Rows kept for measuring task success at the end."""
    validation: int = Field(default=60, ge=1)
    """Rows kept for choices made during the run."""


class SuiteSection(Config):
    """One evaluation suite."""

    spec: str
    """`harbor-harmful`, `harmbench:PATH` (see `holdfast suites list`), or a file of your own."""
    name: str = ""
    """Name to give it."""
    kind: SuiteKind | Literal[""] = ""
    """What a file of your own measures; suites that Holdfast knows know it."""
    judge: str = ""
    """Judge that reads it best, where it is not the run's."""


class EvaluateSection(Config):
    """How every checkpoint is evaluated."""

    suites: tuple[SuiteSection, ...]
    """Suites of the gate; the same frozen prompts for every arm."""
    judge: str = "rules"
    """Judge whose labels the gate counts."""
    task_judge: str = "reference"
    """Judge of the held-out rows of the fine-tuning task."""
    per_suite: int = Field(default=300, ge=10)
    """Prompts of each suite at the end of an arm."""
    per_epoch: int = Field(default=60, ge=5)
    """Prompts of each suite after every epoch."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Longest answer."""
    batch_size: int = Field(default=32, ge=1)
    """Conversations generated at once."""
    workers: int = Field(default=1, ge=1)
    """Processes that answer side by side, on the Ray cluster of `RAY_ADDRESS` or a local one."""
    too_long: Literal["error", "drop"] = "error"
    """Prompts that leave no room for an answer: refuse the run, or drop and count them."""


class MapSection(Config):
    """What the safety map is fitted on."""

    contrast: str
    """JSONL of contrast rows, or `harbor`; see docs/plans.md."""
    openings: str
    """JSON with `refusal` and `compliance` openings, or `harbor`, or `default`."""
    replay: str
    """JSONL of harmful prompts for the safety buffer, or `harbor`."""
    energy: float = Field(default=0.9, gt=0, le=1)
    """Share of the category directions' energy that the safety subspace keeps."""


class AuditSection(AuditConfig):
    """How the training rows are read before the run trains on them."""

    enabled: bool = True
    """Whether they are."""
    sample: int = Field(default=128, ge=1, le=20_000)
    """Rows that the model's scores are taken on; the text of all rows is read."""
    own_answers: bool = False
    """Also ask the base for its own answers to the sample: harmful answers, triggers, clusters."""

    def settings(self) -> AuditConfig:
        """The audit's own part."""
        return AuditConfig(**self.model_dump(exclude={"enabled"}))


class Plan(Config):
    """The whole run."""

    schema_version: Literal[1] = 1
    """Version of the plan's shape."""
    name: str = "run"
    """What people call it."""
    seed: int = 0
    """Seed of every random stream of the run."""
    threat: Threat = "accidental"
    """What the data may hold; printed on every result."""
    model: ModelSection
    data: DataSection
    audit: AuditSection = AuditSection()
    map: MapSection
    train: Annotated[SFTConfig | DPOConfig | RLHFConfig, Field(discriminator="method")] = (
        SFTConfig()
    )
    forecast: bool = True
    """Whether a run tells beforehand what it expects of itself (docs/forecast.md)."""
    protect: ProtectSection = ProtectSection.model_validate({})
    monitor: MonitorConfig = MonitorConfig()
    evaluate: EvaluateSection
    arms: tuple[Literal["plain", "protected"], ...] = ("plain", "protected")
    """Arms that are trained, in this order."""
    policy: str = "default"
    """Name of a shipped policy or path of a policy file."""

    @field_validator("train", mode="before")
    @classmethod
    def _usual_method(cls, value: Any) -> Any:
        """A plan that names no method fine-tunes with supervision."""
        return {"method": "sft", **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _whole(self) -> Plan:
        if not self.arms or len(set(self.arms)) != len(self.arms):
            raise ValueError("arms must name plain, protected, or both, once each")
        specs = [suite.spec for suite in self.evaluate.suites]
        if len(set(specs)) != len(specs):
            raise ValueError("evaluate.suites names a suite twice")
        if "protected" in self.arms:
            self._guardable()
        return self

    def _guardable(self) -> None:
        """Refuse protections that are unsound for this training, naming the lines that disagree."""
        train = self.train
        setting = Setting(
            method=train.method, tuner=train.tuner, init=train.init, deploy=train.deploy,
            on_alarm=self.monitor.on_alarm,
        )  # fmt: skip
        found = faults(self.protect.method, setting)
        replay = self.map.replay
        for place, suite in enumerate(self.evaluate.suites):
            if suite.spec == replay:
                found.append(
                    f"'map.replay: {replay}' and 'evaluate.suites[{place}].spec: {replay}' "
                    "disagree: prompts that are trained on measure nothing"
                )
        if found:
            raise ValueError("; ".join(found))

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave newer parts out where they are the usual ones, so that a run begun before there
        were any can be continued.
        """
        content: dict[str, Any] = handler(self)
        if self.audit == AuditSection():
            content.pop("audit", None)
        if self.forecast:
            content.pop("forecast", None)
        if not self.model.sae:
            content["model"].pop("sae", None)
        return content

    def digest(self) -> str:
        """The digest that names the run."""
        return sha256_json(self.model_dump(mode="json"))


def load_plan(path: Path) -> Plan:
    """Read a plan; relative paths in it are relative to the file."""
    plan = load_yaml(Plan, path)
    return _absolute(plan, path.resolve().parent)


def _absolute(plan: Plan, folder: Path) -> Plan:
    """The plan with relative paths that exist made absolute: a run can be resumed from anywhere."""

    def resolve(value: str) -> str:
        prefix, colon, rest = value.rpartition(":")
        path, mark, pin = rest.partition("#")  # a suite's file may name its digest, an SAE its site
        candidate = folder / path
        if not path or not candidate.exists():
            return value
        return f"{prefix}{colon}{candidate.resolve()}{mark}{pin}"

    suites = tuple(s.model_copy(update={"spec": resolve(s.spec)}) for s in plan.evaluate.suites)
    return plan.model_copy(
        update={
            "model": plan.model.model_copy(
                update={k: resolve(getattr(plan.model, k)) for k in ("source", "sae")}
            ),
            "data": plan.data.model_copy(update={"source": resolve(plan.data.source)}),
            "map": plan.map.model_copy(
                update={
                    k: resolve(getattr(plan.map, k)) for k in ("contrast", "openings", "replay")
                }
            ),
            "evaluate": plan.evaluate.model_copy(update={"suites": suites}),
            "monitor": plan.monitor.model_copy(update={"detector": resolve(plan.monitor.detector)}),
            "policy": resolve(plan.policy),
        }
    )
