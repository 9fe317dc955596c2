"""Gate real chat models whose refusal direction was removed or added; print one row per gate.

    python docs/examples/gate_refusal_ablation.py OUT

Reads the published evaluations below HOLDFAST_DATA through `refusal_ablation.py` and runs the same
gate as `holdfast gate --base A --candidate B --judge rules [--allow-identical]` on each pair.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

MODELS = ("gemma-2b-it", "qwen-1_8b-chat", "llama-2-7b-chat-hf")
GATES = (
    ("direction removed", "baseline-harmful", "ablation", "harmful_compliance"),
    ("direction added", "baseline-harmless", "induced", "over_refusal"),
    ("baseline against itself", "baseline-harmful", "baseline-harmful", "harmful_compliance"),
)


def main(out: Path) -> None:
    """Convert, gate, print."""
    source = Path(os.environ["HOLDFAST_DATA"]) / "paired_results" / "refusal_ablation"
    convert = Path(__file__).with_name("refusal_ablation.py")
    print("| model | candidate | metric | base | candidate | difference (90 % interval) "
          "| verdict | exit |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for model in MODELS:
        folder = out / model
        subprocess.run(
            [sys.executable, str(convert), str(source / model), str(folder)],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        for what, base, candidate, metric in GATES:
            done = subprocess.run(
                [sys.executable, "-m", "holdfast.cli.main", "gate", "--judge", "rules", "--json",
                 "--base", str(folder / f"{base}.jsonl"),
                 "--candidate", str(folder / f"{candidate}.jsonl"),
                 *(["--allow-identical"] if base == candidate else [])],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            verdict = json.loads(done.stdout)
            found = next(c for c in verdict["comparisons"] if c["metric"] == metric)
            d = found["difference"]
            print(
                f"| {model} | {what} | {metric} | {found['base_rate']['value']:.2f} "
                f"| {found['candidate_rate']['value']:.2f} "
                f"| {d['value']:+.2f} [{d['low']:+.2f}, {d['high']:+.2f}] "
                f"| {verdict['outcome'].upper()} | {done.returncode} |"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
