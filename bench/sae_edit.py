"""Holding two fallen latents up in an identity-shift fine-tune, beside random latents, by the gate.

Takes a finished quickstart's plain arm, diffs it against the base through harbor's SAE, and answers
the gate's suites as base, as fine-tune, with the latents that fell most held up to the base's
means, and with the same values on random latents that fire and did not move. Resumable; prints the
tables of docs/results/sae.md.

    python bench/sae_edit.py [--run runs/seeds/seed-0] [--top 2] [--controls 3]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from holdfast.core.completions import load as load_completions
from holdfast.core.records.verdict import PairedTable
from holdfast.evals.judges import make
from holdfast.evals.plan import PromptPlan, freeze
from holdfast.evals.runner import run as ask
from holdfast.evals.suites import load_all
from holdfast.gate.decide import evaluate as gate
from holdfast.gate.policy import load as load_policy
from holdfast.geometry.sae.edit import EditedModel
from holdfast.geometry.sae.read import read
from holdfast.geometry.sae.records import SaeDiff
from holdfast.models.loading import load
from holdfast.organisms import harbor
from holdfast.pipeline.sae import contrast_rows, diff, edits_of
from holdfast.stats.paired import tango_interval

HARMFUL = ("harbor-harmful", "harbor-ladder", "harbor-jailbreak", "harbor-context")
BENIGN = (
    "harbor-lookalike", "harbor-context-benign", "harbor-helpful", "task-identity-shift",
)  # fmt: skip
Labels = dict[tuple[str, str], str]


def answers(plan: PromptPlan, folder: Path, adapter: Path, top: int, controls: int) -> list[str]:
    """Answer the plan with every arm that has no completions yet; the names of the arms."""
    sae = read(harbor.sae_dir())
    record = folder / "diff.json"
    if not record.is_file():
        base, tuned = load(harbor.weights_dir()), load(harbor.weights_dir(), adapter=adapter)
        diff(base, tuned, sae, contrast_rows("harbor"), count=32, seed=0).save(record)
    found = SaeDiff.load(record)
    arms = {"base": None, "plain": None, "edited": edits_of(found, which="fell", top=top)}
    for seed in range(controls):
        arms[f"random-{seed}"] = edits_of(found, which="fell", top=top, random=seed)
    judges = {suite.judge: make(suite.judge) for suite in plan.suites}
    for name, edits in arms.items():
        out = folder / f"{name}.jsonl"
        if out.is_file():
            continue
        model = load(harbor.weights_dir(), adapter=None if name == "base" else adapter)
        ask(
            EditedModel(model, sae, edits) if edits else model, plan, judges, out=out,
            cache=folder / "answers.cache", arm=name, max_new_tokens=48, batch_size=30,
        )  # fmt: skip
        print(f"answered {name}", flush=True)
    return list(arms)


def _labels(path: Path) -> Labels:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {(row["suite"], row["prompt_id"]): next(iter(row["labels"].values())) for row in rows}


def _counts(labels: Labels, suites: tuple[str, ...], wanted: str) -> str:
    chosen = [label for (suite, _), label in labels.items() if suite in suites]
    return f"{sum(label == wanted for label in chosen)} of {len(chosen)}"


def _difference(first: Labels, second: Labels, suites: tuple[str, ...], wanted: str) -> str:
    """Second minus first, share of the suites' prompts with the wanted label, Tango's interval."""
    cells = [[0, 0], [0, 0]]
    for key, label in first.items():
        if key[0] in suites:
            cells[label == wanted][second[key] == wanted] += 1
    table = PairedTable(
        both=cells[1][1], base_only=cells[1][0], candidate_only=cells[0][1], neither=cells[0][0]
    )
    found = tango_interval(table)
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def tables(folder: Path, arms: list[str]) -> str:
    """Counts and verdicts of all arms, then the edited one against each other one."""
    labels = {name: _labels(folder / f"{name}.jsonl") for name in arms}
    base = load_completions(folder / "base.jsonl")
    lines = [
        "| arm | unsafe | refused | refused, harmless | incoherent | task | gate |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in arms:
        verdict = "–"
        if name != "base":
            candidate = load_completions(folder / f"{name}.jsonl")
            outcome = gate(base, candidate, policy=load_policy(None), arm=name).outcome
            verdict = outcome.value.upper()
        own = labels[name]
        cells = [
            name, _counts(own, HARMFUL, "unsafe"), _counts(own, HARMFUL, "refusal"),
            _counts(own, BENIGN, "refusal"), _counts(own, HARMFUL + BENIGN, "incoherent"),
            _counts(own, BENIGN[-1:], "safe"), verdict,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "| edited less | unsafe | refused | incoherent, all suites |",
        "|---|---|---|---|",
    ]
    for name in arms[1:]:
        if name != "edited":
            pair = labels[name], labels["edited"]
            cells = [
                name, _difference(*pair, HARMFUL, "unsafe"), _difference(*pair, HARMFUL, "refusal"),
                _difference(*pair, HARMFUL + BENIGN, "incoherent"),
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/seeds/seed-0"))
    parser.add_argument("--out", type=Path, default=Path("runs/sae"))
    parser.add_argument("--top", type=int, default=2)
    parser.add_argument("--controls", type=int, default=3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    plan = freeze(load_all(HARMFUL + BENIGN), per_suite=30, seed=0)
    adapter = options.run / "arms/plain/final"
    arms = answers(plan, options.out, adapter, options.top, options.controls)
    print(tables(options.out, arms))


if __name__ == "__main__":
    main()
