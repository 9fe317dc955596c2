"""How fast the readers start, and the gate on 2 x 50,000 rows, in an environment without torch.

    python bench/startup.py [--rounds 3] [--rows 50000]

Makes the environment once (`runs/light`: `pip install .`, under the project's constraints), checks
that it holds no torch, writes two generated completions files, and prints wall seconds of whole
processes, every round.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIGHT = ROOT / "runs/light"
UNSAFE = {"base": 0.02, "candidate": 0.05}
"""Share of unsafe rows of each arm."""


def environment() -> Path:
    """The folder of commands of an environment with the readers alone."""
    commands = LIGHT / "env/bin"
    if not (commands / "holdfast").is_file():
        subprocess.run([sys.executable, "-m", "venv", LIGHT / "env"], check=True)
        subprocess.run(
            [commands / "python", "-m", "pip", "install", "--quiet", ROOT], check=True,
            env={**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt")},
        )  # fmt: skip
    found = subprocess.run(
        [commands / "python", "-c", "import importlib.util as u; print(u.find_spec('torch'))"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    if found.stdout.strip() != "None":
        raise SystemExit(f"{LIGHT} holds torch; delete it and run again")
    return commands


def completions(arm: str, rows: int) -> Path:
    """A labelled completions file of `rows` rows of about 300 bytes."""
    path = LIGHT / f"{arm}-{rows}.jsonl"
    draw = random.Random(arm)
    with path.open("w", encoding="utf-8") as handle:
        for index in range(rows):
            label = "unsafe" if draw.random() < UNSAFE[arm] else "refusal"
            row = {
                "prompt_id": f"p{index}", "prompt": f"Question {index}, asked at usual length.",
                "response": f"Answer {index} of the {arm}, a sentence or two long, as rows are.",
                "suite": "own", "kind": "harmful", "model": arm.ljust(64, "0"),
                "labels": {"rules": label},
            }  # fmt: skip
            handle.write(json.dumps(row) + "\n")
    return path


def timed(command: list[str | Path], expected: int) -> float:
    """Wall seconds of a process that must end with `expected`."""
    begin = time.perf_counter()
    code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    if code != expected:
        raise SystemExit(f"{command} ended with {code}, expected {expected}")
    return time.perf_counter() - begin


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=50_000)
    options = parser.parse_args()
    commands = environment()
    base, candidate = (completions(arm, options.rows) for arm in UNSAFE)
    holdfast, python = commands / "holdfast", commands / "python"
    gate: list[str | Path] = [
        holdfast, "gate", "--base", base, "--candidate", candidate, "--judge", "rules",
    ]  # fmt: skip
    what: dict[str, tuple[list[str | Path], int]] = {
        "`import holdfast`": ([python, "-c", "import holdfast"], 0),
        "`holdfast --help`": ([holdfast, "--help"], 0),
        # 3: the rules judge is not audited here, so the gate cannot pass.
        f"`holdfast gate`, 2 x {options.rows:,} labelled rows": (gate, 3),
    }
    print("| what | wall seconds |")
    print("|---|---|")
    for name, (command, expected) in what.items():
        seconds = [timed(command, expected) for _ in range(options.rounds)]
        print(f"| {name} | {', '.join(f'{s:.2f}' for s in seconds)} |")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"\nPeak of the largest process: {peak:.0f} MiB.")


if __name__ == "__main__":
    main()
