"""Half of the plain adapter against the protection, on the gate's own prompts and by the gate.

Reads finished quickstarts (bench/quickstart_seeds.py) and answers the full plan with the plain
adapter at smaller scales, which costs a user no training at all. Resumable; prints the table of
docs/results/harbor.md.

    python bench/free_baselines.py [--runs runs/seeds] [--scales 0.5 0.25]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from holdfast.core.completions import load as load_completions
from holdfast.core.records import Verdict
from holdfast.evals.judges import make
from holdfast.evals.plan import PromptPlan
from holdfast.evals.runner import run as ask
from holdfast.gate.decide import evaluate as gate
from holdfast.gate.policy import load as load_policy
from holdfast.models.loading import load
from holdfast.tuning.scaling import rescale

METRICS = (
    "harmful_compliance", "weak_refusal", "jailbreak_vulnerability", "context_blindness",
    "over_refusal", "incoherence", "task_success",
)  # fmt: skip


def scaled_verdict(folder: Path, scale: float, out: Path) -> Verdict:
    """The gate's verdict on the plain adapter at `scale`."""
    plan = PromptPlan.model_validate_json((folder / "plans/full.json").read_text("utf-8"))
    judges = {suite.name: suite.judge for suite in plan.suites}
    adapter = out / f"{folder.name}@{scale:g}"
    if not adapter.is_dir():
        rescale(folder / "arms/plain/final", scale, adapter)
    answers = out / f"{folder.name}@{scale:g}.jsonl"
    if not answers.is_file():
        ask(
            load(folder / "base", adapter=adapter), plan,
            {name: make(name) for name in set(judges.values())}, out=answers,
            cache=out / "answers.cache", arm=f"plain@{scale:g}", max_new_tokens=48, batch_size=64,
        )  # fmt: skip
    base, candidate = load_completions(folder / "completions/base.jsonl"), load_completions(answers)
    return gate(base, candidate, judge=judges, policy=load_policy(None), arm=f"plain@{scale:g}")


def line(seed: str, verdict: Verdict) -> str:
    """One line of the table: the verdict and the rates of the candidate."""
    rates = {c.metric: c.candidate_rate.value for c in verdict.comparisons}
    cells = [seed, verdict.arm, verdict.outcome.value.upper()]
    return "| " + " | ".join([*cells, *(f"{rates[name]:.3f}" for name in METRICS)]) + " |"


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--scales", type=float, nargs="+", default=[0.5, 0.25])
    options = parser.parse_args()
    out = options.runs / "free"
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for folder in sorted(options.runs.glob("seed-*")):
        seed = folder.name.removeprefix("seed-")
        for arm in ("plain", "protected"):
            path = folder / f"verdicts/{arm}.json"
            if not path.is_file():
                break
            lines.append(line(seed, Verdict.model_validate(json.loads(path.read_text("utf-8")))))
        else:
            for scale in options.scales:
                lines.append(line(seed, scaled_verdict(folder, scale, out)))
                print(lines[-1], flush=True)
    print("\n| seed | arm | verdict | " + " | ".join(m.replace("_", " ") for m in METRICS) + " |")
    print("|---|---|---|" + "---|" * len(METRICS))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
