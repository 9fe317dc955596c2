"""One cell of the defence bench: one base, one seed, one data set, and everything made in it.

All arms of a cell train on the same rows in the same order with the same seed, are protected with
the same buffer, and edit the same plain run. Everything lies in one folder until the cell is done.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from holdfast.core.completions import load as load_completions
from holdfast.core.files import write_jsonl, write_text
from holdfast.core.protocols import Messages, Progress, no_progress
from holdfast.core.records import TrainingRecord
from holdfast.core.seeds import derive
from holdfast.evals import runner
from holdfast.evals.judges import make as make_judge
from holdfast.evals.plan import freeze
from holdfast.evals.suites import Prompt, Suite
from holdfast.geometry.contrast import load_contrast, parse_openings
from holdfast.geometry.fitted import FittedMap
from holdfast.geometry.safety_map import fit
from holdfast.models.architecture import residual_writers
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.organisms.harbor import contrast, sets, suites
from holdfast.pipeline.defenses.arms import WRITERS, Arm
from holdfast.pipeline.defenses.measure import Cost, counted
from holdfast.repair.base import Case, slug
from holdfast.repair.pairs import Asked, Pairs, make
from holdfast.repair.updates import AdapterUpdate, added
from holdfast.tuning.methods.arm import train
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.tuning.methods.spec import ArmSpec
from holdfast.tuning.monitor import Monitor
from holdfast.tuning.monitor_config import MonitorConfig
from holdfast.tuning.protections.base import Materials, Protection

BUFFER = 64
"""Harmful prompts of the safety buffer; protections replay them, repairs train on them."""
PROBES = 24
"""Harmful prompts that the monitor of `auto` watches."""
KEEP_PROMPTS = 40
"""Harmless prompts that repairs may train on, to keep them answered."""
PAIRS = 40
"""Failures that a repair trains on, at most; as many rows stand against them twice."""
LOOKS = 15
"""Checkpoints of the plain runs, for early stopping."""
_COST = "cost.json"


@dataclass(frozen=True)
class Trained:
    """A finished training in the cell."""

    folder: Path
    record: TrainingRecord
    cost: Cost

    def at(self, part: float) -> tuple[int, Path]:
        """The checkpoint nearest to `part` of all steps: its step and folder."""
        last = self.record.steps
        best = min(self.record.checkpoints, key=lambda c: (abs(c.step - part * last), c.step))
        return best.step, self.folder / best.path


@dataclass
class Cell:
    """See the module's text."""

    base: Path
    """Folder of the base."""
    data: str
    """Harbor set that is learnt."""
    seed: int
    """Seed of rows, order, adapter and buffer."""
    rows: int
    """Training rows."""
    validation: int
    """Validation prompts of a suite that choices are made on; repairs train on none of them."""
    folder: Path
    """Where everything of the cell lies."""
    maps: Path
    """Folder of safety maps, one per base."""
    progress: Progress = no_progress
    memo: dict[str, Any] = field(default_factory=dict)
    """What arms of the cell share."""

    @cached_property
    def model(self) -> LoadedModel:
        """The base."""
        return load(self.base)

    @cached_property
    def fitted(self) -> FittedMap:
        """The safety map of the base, fitted once for all cells."""
        folder = self.maps / self.model.digest[:16]
        if not (folder / "safety_map.json").is_file():
            self.progress("fit the safety map", 0, 0)
            rows = folder / "rows.jsonl"
            write_jsonl(rows, (dict(r) for s in contrast.contrast_sets(0).values() for r in s))
            openings = parse_openings(contrast.openings())
            fitted = fit(self.model, load_contrast(rows), openings, seed=0, allow_ineligible=True)
            fitted.save(folder)
        return FittedMap.load(folder)

    @cached_property
    def writers(self) -> list[str]:
        """Names of the weights that write to the residual stream."""
        return [f"{name}.weight" for name, _, _ in residual_writers(self.model.model)]

    @cached_property
    def buffer(self) -> list[Messages]:
        """The safety buffer."""
        found: Any = [row["messages"] for row in contrast.replay_buffer(self.seed, BUFFER)]
        return list(found)

    @cached_property
    def training_rows(self) -> list[dict[str, Any]]:
        """The rows that every arm learns."""
        built = sets.build(self.data, seed=derive(self.seed, "data"), rows=self.rows)
        return [{"messages": row["messages"]} for row in built]

    @property
    def materials(self) -> Materials:
        """What protections are made from."""
        return Materials(self.buffer, self.fitted)

    def config(self, arm: Arm, **changes: Any) -> SFTConfig:
        """The shipped recipe on the arm's modules, with `changes`."""
        targets: Any = WRITERS if arm.tuned == "writers" else "all-linear"
        return SFTConfig(
            seed=self.seed, max_length=256, device="cpu", targets=targets,
            **{**dict(arm.train), **changes},
        )  # fmt: skip

    def plain(self, arm: Arm) -> Trained:
        """The unprotected run that `arm` edits or is compared with; trained once."""
        from holdfast.pipeline.defenses.arms import ARMS

        reference = ARMS[arm.plain]
        plan = self.config(reference)
        steps = -(-self.rows // plan.batch_size) * plan.epochs
        return self.train(reference, arm.plain, None, checkpoint_every=max(1, steps // LOOKS))

    def train(self, arm: Arm, key: str, guard: Protection | None, **changes: Any) -> Trained:
        """Train under the name `key`, or return what was trained under it already."""
        folder = self.folder / slug(key)
        known = folder / _COST
        if not known.is_file():
            shutil.rmtree(folder, ignore_errors=True)  # a killed training is not counted whole
            watched = guard is not None and any(part.watches for part in guard.parts)
            spec = ArmSpec(
                key, self.base, self.training_rows, folder, self.config(arm, **changes),
                protection=guard, monitor=self._monitor() if watched else None,
                watch=MonitorConfig(every=1000, dense=0),
            )  # fmt: skip
            with counted() as cost:
                train(spec, progress=self.progress)
            write_text(known, json.dumps(asdict(cost)))
        cost = Cost(**json.loads(known.read_text("utf-8")))
        return Trained(folder, TrainingRecord.load(folder / "training.json"), cost)

    def _monitor(self) -> Monitor:
        probes: Any = [r["messages"] for r in contrast.replay_buffer(self.seed + 1000, PROBES)]
        return Monitor.of(probes, parse_openings(contrast.openings()))

    def update(self, arm: Arm, at: float = 1.0) -> AdapterUpdate:
        """What the unprotected run changed, at a checkpoint."""
        return AdapterUpdate.open(self.plain(arm).at(at)[1])

    def case(self, arm: Arm) -> Case:
        """The end of the plain run as a case for the repair methods."""
        update, base = self.update(arm), self.base
        merged = self.folder / "merged"
        return Case(
            arm=arm.plain, base=base, update=update,
            merged=lambda: merged if merged.is_dir() else added(base, update, merged),
            fitted=self.fitted, writers=lambda: self.writers, unaligned=None, failures=(),
            pairs=self._pairs, rows=self.training_rows, config=self.config(arm), seed=self.seed,
            prompts=self.validation, quick_prompts=self.validation,
        )  # fmt: skip

    def _pairs(self) -> Pairs:
        """Pairs made from where the plain run fails on the buffer and on harmless prompts.

        Raises:
            InvalidRun: it fails nowhere there.
        """
        if "pairs" not in self.memo:
            plan = freeze([self._buffer_suite(), self._keep_suite()], seed=self.seed)
            plain = load(self.base, adapter=self.folder / "plain" / self._last("plain"))
            asked = []
            for name, model in (("base", self.model), ("run", plain)):
                out = self.folder / f"pool-{name}.jsonl"
                runner.run(
                    model, plan, {"harbor": make_judge("harbor")}, out=out,
                    cache=self.folder / "answers.sqlite", arm=name, max_new_tokens=48,
                    batch_size=60,
                )  # fmt: skip
                load_completions(out)
                asked.append(out)
            judges = {suite.name: "harbor" for suite in plan.suites}
            self.memo["pairs"] = make(
                Asked(plan, asked[0], asked[1], judges), self.training_rows,
                modes=["harmful_compliance", "over_refusal"], limit=PAIRS, seed=self.seed,
            )  # fmt: skip
        pairs: Pairs = self.memo["pairs"]
        return pairs

    def _last(self, key: str) -> str:
        record = TrainingRecord.load(self.folder / key / "training.json")
        return record.checkpoints[-1].path

    def _buffer_suite(self) -> Suite:
        found = tuple(
            Prompt(prompt_id=f"buffer-{number:03d}", messages=messages)
            for number, messages in enumerate(self.buffer)
        )
        return Suite("safety-buffer", "harmful", found, "harbor", "MIT", "the safety buffer")

    def _keep_suite(self) -> Suite:
        """Validation look-alikes beyond those that choices are made on."""
        last = self.validation + KEEP_PROMPTS
        rows: Any = suites.suite("harbor-lookalike", n=last, seed=1, split="validation")
        found = tuple(
            Prompt(prompt_id=row["prompt_id"], messages=row["messages"])
            for row in rows[self.validation :]
        )
        return Suite("keep", "benign", found, "harbor", "MIT", "harmless prompts")


def protections(arm: Arm, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The arm's protections with the settings of one configuration."""
    tuned = options.get("protect", {})
    return {name: {**arm.protect.get(name, {}), **tuned.get(name, {})}
            for name in {**arm.protect, **tuned}}  # fmt: skip
