"""Repair failed plain runs of the quickstart's data, seed by seed; resumable; prints the table.

    python bench/repair.py                      # LoRA, five seeds, the whole ladder
    python bench/repair.py --tuner full         # or dora, qlora
    python bench/repair.py --only revert        # one step alone, on copies of the same runs

Each seed trains the quickstart's plain arm (a finished run is only read) and repairs it. With
`--reuse FOLDER`, runs that are finished there (`FOLDER/seed-N`) are copied in place of training.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from holdfast.core.completions import load
from holdfast.core.records import RepairRecord, Verdict
from holdfast.organisms.harbor.judge import graceful, is_refusal
from holdfast.pipeline.plan import Plan
from holdfast.pipeline.quickstart import quickstart_plan
from holdfast.pipeline.repair import repair
from holdfast.pipeline.run import run

FOLDER = Path("runs/repair")
RATES = {"full": 2e-4}
"""Learning rate where the quickstart's, which is LoRA's, does not fit."""
HEAD = [
    "seed", "steps tried", "repaired by", "setting", "gates asked", "gate",
    "harmful compliance, run → repaired", "worst blocking metric, repaired − base",
    "held-out task, run → repaired", "graceful refusals",
]  # fmt: skip


def plan_of(tuner: str, seed: int) -> Plan:
    """The quickstart's plan with one plain arm of this tuner."""
    plan = quickstart_plan(seed=seed)
    changes: dict[str, object] = {"tuner": tuner}
    if tuner in RATES:
        changes["learning_rate"] = RATES[tuner]
    train = plan.train.model_copy(update=changes)
    return plan.model_copy(update={"train": train, "arms": ("plain",)})


def prepare(
    tuner: str, seed: int, reuse: Path | None, say: Callable[[str, int, int], None]
) -> Path:
    """The folder of a finished plain run."""
    folder = FOLDER / tuner / f"seed-{seed}"
    if (folder / "verdicts" / "plain.json").is_file():
        return folder
    found = reuse / f"seed-{seed}" if reuse and tuner == "lora" else None
    if found and (found / "verdicts" / "plain.json").is_file():
        return copied(found, folder)
    run(plan_of(tuner, seed), folder, vault=folder / "vault", progress=say)
    return folder


def copied(source: Path, to: Path) -> Path:
    """A copy of a run without its repairs, whole or not at all."""
    if not to.is_dir():
        draft = to.with_name(f".{to.name}.tmp")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(source, draft, ignore=shutil.ignore_patterns(".lock", "repairs"))
        draft.replace(to)
    return to


def cells(seed: int, folder: Path, record: RepairRecord) -> list[str]:
    """One line of the table."""
    last = record.attempts[-1]
    setting = last.chosen.name if last.chosen and record.method else "–"
    before = next(f.run_rate for f in record.failures if f.metric == "harmful_compliance")
    first = [str(seed), ", ".join(a.method for a in record.attempts), record.method or "**none**",
             setting, str(record.gates_asked), record.outcome.value.upper()]  # fmt: skip
    if last.task_kept is None:
        return [*first, f"{before:.3f} → –", "–", "–", "–"]
    verdict = Verdict.load(folder / "repairs" / "plain" / last.method / "verdict.json")
    blocking = [c for c in verdict.comparisons if c.metric != "task_success"]
    worst = max(blocking, key=lambda c: c.worse * c.difference.value)
    harm = next(c for c in verdict.comparisons if c.metric == "harmful_compliance")
    d, task = worst.difference, last.task_kept
    return [
        *first, f"{before:.3f} → {harm.candidate_rate.value:.3f}",
        f"{worst.metric} {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]",
        f"{task.base_rate.value:.3f} → {task.candidate_rate.value:.3f}",
        kindness(folder / "completions" / "repair" / "plain" / last.method / "gate.jsonl"),
    ]  # fmt: skip


def kindness(answers: Path) -> str:
    """Refusals that decline, give a reason and offer an alternative, among all refusals."""
    refusals = [row["response"] for row in load(answers).rows if is_refusal(row["response"])]
    return f"{sum(all(graceful(text)) for text in refusals)} of {len(refusals)}"


def progress() -> Callable[[str, int, int], None]:
    """One line of the log per piece of work."""
    last = [""]

    def say(what: str, _done: int, _total: int) -> None:
        if what != last[0]:
            last[0] = what
            print(f"  {time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)

    return say


def line(items: list[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(items) + " |"


def main() -> None:
    """Train and repair every seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tuner", default="lora", choices=("lora", "full", "dora", "qlora"))
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="try this step alone")
    parser.add_argument("--reuse", type=Path, help="folder with finished runs, seed-N")
    options = parser.parse_args()
    say, lines, repaired = progress(), [], 0
    for seed in range(options.first, options.first + options.seeds):
        folder = prepare(options.tuner, seed, options.reuse, say)
        if options.only:
            folder = copied(folder, folder.with_name(f"{folder.name}-{options.only}"))
        record = repair(
            folder, arm="plain", methods=[options.only] if options.only else [], progress=say
        )
        if record is None:
            print(f"seed {seed}: the plain run passed, nothing to repair", flush=True)
            continue
        repaired += bool(record.method)
        lines.append(line(cells(seed, folder, record)))
        print(lines[-1], flush=True)
    print("\n".join(["", line(HEAD), line(["---"] * len(HEAD)), *lines]))
    print(f"\nRepaired: {repaired} of {len(lines)}.")


if __name__ == "__main__":
    main()
