"""Reading a run folder: every record that is there, every one that is missing or damaged by name.

Nothing here fails because a part is absent or broken: a report must also explain half a run. What
is absent is None or empty, and what cannot be read is listed in `Run.problems`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from holdfast.core import completions
from holdfast.core.completions import Completions
from holdfast.core.digest import sha256_json
from holdfast.core.errors import HoldfastError, UsageError
from holdfast.core.journal import Journal
from holdfast.core.records import (
    AuditRecord,
    DatasetRef,
    DriftReport,
    Forecast,
    ModelRef,
    Outcome,
    Part,
    RankSearch,
    Record,
    RepairRecord,
    RewardGate,
    SafetyMap,
    TrainingRecord,
    Verdict,
)
from holdfast.report import rates
from holdfast.report.rates import Rate

MAX_RECORD_BYTES = 64 << 20
"""A larger JSON file is no record of ours; it is named as a problem and not read."""
ARM_ORDER = ("plain", "protected")
_PARTS = ("plan.json", "journal.jsonl", "map", "arms", "completions", "verdicts", "run.json")
_AT_STEP = re.compile(r"(?P<arm>.+)@step-(?P<step>\d{1,9})")

R = TypeVar("R", bound=Record)


@dataclass
class Arm:
    """What the folder holds about one arm."""

    name: str
    training: TrainingRecord | None = None
    drifts: list[DriftReport] = field(default_factory=list)
    """By step."""
    verdict: Verdict | None = None
    reward_gate: RewardGate | None = None
    """What the arm's reward model showed before a policy saw it."""
    final: Completions | None = None
    rates: list[Rate] = field(default_factory=list)
    """Rates of the final model on the full plan."""
    epochs: dict[int, list[Rate]] = field(default_factory=dict)
    """Rates of each checkpoint on the smaller plan, by step."""


@dataclass
class Run:
    """What the folder holds."""

    folder: Path
    plan: dict[str, Any] | None = None
    plan_digest: str = ""
    """Digest that names the run, from the journal, else from plan.json, else ""."""
    base: ModelRef | None = None
    dataset: DatasetRef | None = None
    eligibility: dict[str, Any] = field(default_factory=dict)
    safety_map: SafetyMap | None = None
    arms: dict[str, Arm] = field(default_factory=dict)
    base_final: Completions | None = None
    base_rates: list[Rate] = field(default_factory=list)
    """Rates of the base on the full plan."""
    base_epoch_rates: list[Rate] = field(default_factory=list)
    """Rates of the base on the smaller plan: step 0 of every arm."""
    judges: dict[str, str] = field(default_factory=dict)
    """Judge by suite, as the verdicts name it."""
    free_baselines: list[dict[str, Any]] = field(default_factory=list)
    audit: AuditRecord | None = None
    """What was found in the training data."""
    forecast: Forecast | None = None
    """What was expected before training."""
    rank_search: RankSearch | None = None
    """Which rank was found to be enough."""
    repairs: list[RepairRecord] = field(default_factory=list)
    """What was tried on arms that did not pass."""
    journal_entries: int | None = None
    """Entries of the verified journal; None where there is none."""
    journal_hash: str = ""
    problems: list[str] = field(default_factory=list)
    """What is there and cannot be read or does not fit together, one sentence each."""


def load(folder: Path) -> Run:
    """Read the run in `folder`; only a folder that is no run at all is an error."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", next_step="name the folder of a run")
    if not any((folder / part).exists() for part in _PARTS):
        raise UsageError(
            f"{folder} holds no run",
            expected="a folder written by 'holdfast run' or 'holdfast quickstart'",
            next_step="check the path",
        )
    run = Run(folder)
    _read_identity(run)
    run.safety_map = _record(run, folder / "map" / "safety_map.json", SafetyMap)
    run.audit = _record(run, folder / "audit" / "audit.json", AuditRecord)
    run.forecast = _record(run, folder / "forecast.json", Forecast)
    run.rank_search = _record(run, folder / "search" / "rank.json", RankSearch)
    for name in _arm_names(folder):
        run.arms[name] = _read_arm(run, name)
    run.judges = {
        comparison.suite: comparison.judge
        for arm in run.arms.values()
        if arm.verdict
        for comparison in arm.verdict.comparisons
    }
    found = (
        _record(run, path, RepairRecord) for path in sorted(folder.glob("repairs/*/repair.json"))
    )
    run.repairs = [record for record in found if record]
    _read_completions(run)
    _check_identity(run)
    return run


def _read_identity(run: Run) -> None:
    plan = _json(run, run.folder / "plan.json")
    run.plan = plan if isinstance(plan, dict) else None
    _read_journal(run)
    if run.plan is not None:
        with _noting(run, run.folder / "plan.json"):
            digest = sha256_json(run.plan)
            run.plan_digest = run.plan_digest or digest
            if run.plan_digest != digest:
                run.problems.append("plan.json is not the plan that the journal was opened with")
    about = _json(run, run.folder / "run.json")
    if isinstance(about, dict):
        run.base = _part(run, "run.json, base", about.get("base"), ModelRef)
        run.dataset = _part(run, "run.json, dataset", about.get("dataset"), DatasetRef)
        eligibility = about.get("eligibility")
        run.eligibility = eligibility if isinstance(eligibility, dict) else {}
    baselines = _json(run, run.folder / "free_baselines.json")
    if isinstance(baselines, list):
        run.free_baselines = [row for row in baselines if isinstance(row, dict)]


def _read_journal(run: Run) -> None:
    path = run.folder / "journal.jsonl"
    if not path.exists():
        return
    with _noting(run, path):
        entries = Journal(path).entries()
        run.journal_entries = len(entries)
        run.journal_hash = entries[-1].hash if entries else ""
        plans = (entry.payload.get("plan") for entry in entries)
        run.plan_digest = next((plan for plan in plans if isinstance(plan, str)), "")


def _arm_names(folder: Path) -> list[str]:
    names = {path.name for path in (folder / "arms").glob("*") if path.is_dir()}
    names |= {path.stem for path in (folder / "verdicts").glob("*.json")}
    names |= {path.stem.partition("@")[0] for path in (folder / "completions").glob("*.jsonl")}
    names -= {"base", ""}
    known = [name for name in ARM_ORDER if name in names]
    return known + sorted(names.difference(known))


def _read_arm(run: Run, name: str) -> Arm:
    folder = run.folder / "arms" / name
    reports = (_record(run, path, DriftReport) for path in folder.glob("drift/*.json"))
    return Arm(
        name,
        training=_record(run, folder / "training.json", TrainingRecord),
        drifts=sorted((r for r in reports if r), key=lambda report: report.step),
        verdict=_record(run, run.folder / "verdicts" / f"{name}.json", Verdict),
        reward_gate=_record(run, folder / "reward_gate.json", RewardGate),
    )


def _read_completions(run: Run) -> None:
    folder = run.folder / "completions"
    run.base_final = _completions(run, folder / "base.jsonl")
    run.base_rates = _rates(run, run.base_final)
    run.base_epoch_rates = _rates(run, _completions(run, folder / "base@epoch.jsonl"))
    for name, arm in run.arms.items():
        arm.final = _completions(run, folder / f"{name}.jsonl")
        arm.rates = _rates(run, arm.final)
    for path in folder.glob("*@step-*.jsonl"):
        match = _AT_STEP.fullmatch(path.stem)
        if match and match["arm"] in run.arms:
            measured = _rates(run, _completions(run, path))
            if measured:
                run.arms[match["arm"]].epochs[int(match["step"])] = measured
    for arm in run.arms.values():
        arm.epochs = dict(sorted(arm.epochs.items()))


def _rates(run: Run, answers: Completions | None) -> list[Rate]:
    return rates.measure(answers.rows, run.judges) if answers else []


def _check_identity(run: Run) -> None:
    """Note what does not fit together: a verdict must speak about the model that the arm made."""
    for name, arm in run.arms.items():
        if arm.training and arm.training.protection != "none" and not arm.training.protected_steps:
            run.problems.append(f"{name}: the protection never acted, so the arm is not protected")
        answered = (arm.final.model, arm.final.digest) if arm.final else ()
        if arm.verdict and answered and arm.verdict.candidate not in answered:
            run.problems.append(f"{name}: the verdict is about another model than the answers")
        if arm.verdict and arm.verdict.outcome == Outcome.PASS:
            if not arm.verdict.comparisons:
                run.problems.append(f"{name}: the verdict is PASS but records no comparison")
            if run.safety_map and not run.safety_map.eligible:
                run.problems.append(f"{name}: the verdict is PASS on a base without safety")


@contextmanager
def _noting(run: Run, path: Path) -> Iterator[None]:
    """Turn a damaged file into a sentence of the report."""
    try:
        yield
    except HoldfastError as error:
        run.problems.append(str(error).splitlines()[0].replace(f"{run.folder}/", ""))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        # What hostile content makes of a reader: nesting too deep, a list where a name belongs.
        run.problems.append(
            f"{path.relative_to(run.folder)} is not readable ({type(error).__name__})"
        )


def _record(run: Run, path: Path, kind: type[R]) -> R | None:
    if not path.is_file():
        return None
    with _noting(run, path):
        _bound(path)
        return kind.load(path)
    return None


def _json(run: Run, path: Path) -> Any:
    if not path.is_file():
        return None
    with _noting(run, path):
        _bound(path)
        return json.loads(path.read_text("utf-8"))
    return None


P = TypeVar("P", bound=Part)


def _part(run: Run, where: str, value: Any, kind: type[P]) -> P | None:
    if value is None:
        return None
    try:
        return kind.model_validate(value)
    except ValueError as error:  # pydantic's ValidationError is one
        run.problems.append(f"{where}: {str(error).splitlines()[0]}")
        return None


def _bound(path: Path) -> None:
    if path.stat().st_size > MAX_RECORD_BYTES:
        raise UsageError(f"{path} is too large for a record", got=f"{path.stat().st_size:,} bytes")


def _completions(run: Run, path: Path) -> Completions | None:
    if not path.is_file():
        return None
    with _noting(run, path):
        return completions.load(path)
    return None
