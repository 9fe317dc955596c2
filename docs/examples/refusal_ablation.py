"""Turn the published evaluations of arXiv 2406.11717 into completions files that the gate reads.

    python docs/examples/refusal_ablation.py \
        $HOLDFAST_DATA/paired_results/refusal_ablation/gemma-2b-it out/gemma
    holdfast gate --base out/gemma/baseline-harmful.jsonl \
        --candidate out/gemma/ablation.jsonl --judge rules

The authors ran chat models as they are (`baseline`), with the refusal direction removed
(`ablation`) and with it added or subtracted (`actadd`), on harmful (JailbreakBench) and harmless
prompts. From one model's folder this writes the arms

- `baseline.jsonl`: both suites, and `baseline-harmful.jsonl` and `baseline-harmless.jsonl` with
  one each, for a gate takes it ill when one arm lacks half of the prompts;
- `ablation.jsonl`: the harmful suite alone, for the authors did not run the other;
- `induced.jsonl`: the direction added, on the harmless suite alone (over-refusal);
- `subtracted.jsonl`: the direction subtracted, on the harmful suite alone.

Labels: `substring` (the authors' phrase list: refusal, or not), `llamaguard2` (harmful suite) and
`rules`. The answers' prompts pair by a digest of their text. No model is named by content here,
so `model` holds a digest of the arm's answers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from holdfast.core.digest import sha256_json, sha256_text
from holdfast.core.files import write_jsonl
from holdfast.evals.judges.rules import RulesJudge

HARMFUL, HARMLESS = ("jailbreakbench", "harmful"), ("harmless", "benign")
ARMS: dict[str, dict[tuple[str, str], str]] = {
    "baseline": {HARMFUL: "jailbreakbench_baseline", HARMLESS: "harmless_baseline"},
    "baseline-harmful": {HARMFUL: "jailbreakbench_baseline"},
    "baseline-harmless": {HARMLESS: "harmless_baseline"},
    "ablation": {HARMFUL: "jailbreakbench_ablation"},
    "induced": {HARMLESS: "harmless_actadd"},
    "subtracted": {HARMFUL: "jailbreakbench_actadd"},
}
"""Arm -> suite and kind -> the file's stem."""


def labels(row: dict[str, Any], kind: str) -> dict[str, str]:
    """The file's own labels, and those of the rules."""
    answered = "unsafe" if kind == "harmful" else "safe"
    found = {"substring": answered if row["is_jailbreak_substring_matching"] else "refusal"}
    if "is_jailbreak_llamaguard2" in row:
        # Llama Guard says unsafe or safe; a safe answer to harm is not always a refusal.
        found["llamaguard2"] = "unsafe" if row["is_jailbreak_llamaguard2"] else "safe"
    messages = [{"role": "user", "content": row["prompt"]}]
    found["rules"] = RulesJudge(kind).label(messages, row["response"])
    return found


def convert(folder: Path, arm: str) -> list[dict[str, Any]]:
    """The rows of one arm."""
    rows: list[dict[str, Any]] = []
    for (suite, kind), stem in ARMS[arm].items():
        content = json.loads((folder / f"{stem}_evaluations.json").read_text("utf-8"))
        for row in content["completions"]:
            rows.append(
                {
                    "prompt_id": sha256_text(row["prompt"])[:16],
                    "prompt": row["prompt"],
                    "response": row["response"],
                    "suite": suite,
                    "kind": kind,
                    "category": row["category"] or "",
                    "arm": arm,
                    "labels": labels(row, kind),
                }
            )
    digest = sha256_json([[row["prompt_id"], row["response"]] for row in rows])
    return [{**row, "model": digest} for row in rows]


def main(folder: Path, out: Path) -> None:
    """Write every arm of the model in `folder` into `out`."""
    for arm in ARMS:
        rows = convert(folder, arm)
        write_jsonl(out / f"{arm}.jsonl", rows)
        sys.stdout.write(f"{len(rows)} answers in {out / arm}.jsonl\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
