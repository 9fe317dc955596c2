"""Ten quickstarts: does the story hold for every seed? Resumable; prints docs/results' table.

python bench/quickstart_seeds.py [--seeds 10]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from holdfast.pipeline.quickstart import as_told, quickstart_plan
from holdfast.pipeline.run import RunResult, run

FOLDER = Path("runs/seeds")


def row(seed: int, result: RunResult, seconds: float) -> str:
    """One line of the table."""
    cells = [str(seed)]
    for arm in ("plain", "protected"):
        verdict = result.verdicts[arm]
        harm = next(c for c in verdict.comparisons if c.metric == "harmful_compliance").difference
        cells += [
            verdict.outcome.value.upper(),
            f"{harm.value:+.3f} [{harm.low:+.3f}, {harm.high:+.3f}]",
            f"{result.task_success[arm]:.3f}",
        ]
    return (
        "| " + " | ".join([*cells, "yes" if as_told(result) else "**no**", f"{seconds:.0f}"]) + " |"
    )


def main() -> None:
    """Run every seed (a finished one is only read) and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    lines: list[str] = []
    told = 0
    for seed in range(options.seeds):
        folder = FOLDER / f"seed-{seed}"
        begin = time.monotonic()
        result = run(quickstart_plan(seed=seed), folder, vault=folder / "vault")
        told += as_told(result)
        lines.append(row(seed, result, time.monotonic() - begin))
        print(lines[-1], flush=True)
    print("\n| seed | plain | harmful compliance, plain − base | task, plain | protected "
          "| harmful compliance, protected − base | task, protected | as told "
          "| seconds |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(lines))
    print(f"\nAs told: {told} of {options.seeds}.")


if __name__ == "__main__":
    main()
