"""What each protection keeps of task and refusals on harbor's `identity-shift`, one row an arm.

    python bench/protection_arms.py [--bases runs/bases] [--seeds 3] [--base 0] [--table]

Every arm trains LoRA of rank 8 at the shipped recipe and is measured at its end, on held-out
prompts by harbor's exact judge; no scale is chosen afterwards. Rows go to
`runs/studies/protection_arms.jsonl`; a killed study continues with the first that is missing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from harbor_study import bases_in, rates

STUDY = Path("runs/studies/protection_arms.jsonl")
SET, ROWS = "identity-shift", 400
ARMS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "replay λ=1": {"replay_kl": {}},
    "replay λ=0.5": {"replay_kl": {"weight": 0.5}},
    "auto": {"auto": {}},
    "replay λ=1 + EMA 0.9": {"replay_kl": {}, "weight_ema": {"decay": 0.9}},
    "EMA 0.9": {"weight_ema": {"decay": 0.9}},
    "safegrad": {"safegrad": {}},
    "constrained": {"constrained": {}},
}


def one(path: Path, name: str, seed: int) -> dict[str, Any]:
    """Train one arm and measure it at the end."""
    from holdfast.geometry.contrast import parse_openings
    from holdfast.models.loading import load
    from holdfast.organisms.harbor import contrast, sets
    from holdfast.tuning.methods.arm import train
    from holdfast.tuning.methods.sft.config import SFTConfig
    from holdfast.tuning.methods.spec import ArmSpec
    from holdfast.tuning.monitor import Monitor
    from holdfast.tuning.monitor_config import MonitorConfig
    from holdfast.tuning.protections.base import Materials
    from holdfast.tuning.protections.registry import config_of
    from holdfast.tuning.protections.stack import make

    buffer: Any = [row["messages"] for row in contrast.replay_buffer(seed, 64)]
    probes: Any = [row["messages"] for row in contrast.replay_buffer(seed + 1000, 24)]
    specs = [(kind, config_of(kind)(**options)) for kind, options in ARMS[name].items()]
    watched = Monitor.of(probes, parse_openings(contrast.openings())) if "auto" in name else None
    rows = [{"messages": r["messages"]} for r in sets.build(SET, seed=seed, rows=ROWS)]
    with tempfile.TemporaryDirectory() as folder:
        spec = ArmSpec(
            name="arm", base=path, rows=rows, out=Path(folder) / "arm",
            config=SFTConfig(seed=seed, max_length=256),
            protection=make(specs, Materials(buffer)) if specs else None,
            monitor=watched, watch=MonitorConfig(every=1000),
        )  # fmt: skip
        record = train(spec)
        result = load(path, adapter=spec.out / record.checkpoints[-1].path)
        after = rates(result, SET)
    return {
        "arm": name, "seed": seed, "after": after, "train_seconds": record.train_seconds,
        "protection_seconds": record.protection_seconds,
        "protections": [report.model_dump() for report in record.protections],
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> None:
    """Mean (lowest-highest) over seeds."""
    print("| arm | base | seeds | task | refusal | over-refusal | incoherent |")
    print("|---|---|---|---|---|---|---|")
    for base in sorted({row["base"] for row in rows}):
        for name in ARMS:
            found = [r["after"] for r in rows if (r["arm"], r["base"]) == (name, base)]
            if not found:
                continue
            cells = []
            for key in ("task", "refusal", "over_refusal", "incoherent"):
                values = [after[key] for after in found]
                cells.append(f"{statistics.mean(values):.3f} ({min(values):.3f}–{max(values):.3f})")
            print(f"| {name} | {base} | {len(found)} | {' | '.join(cells)} |")


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bases", type=Path, default=Path("runs/bases"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--base", type=int, default=0)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    STUDY.parent.mkdir(parents=True, exist_ok=True)
    lines = STUDY.read_text("utf-8").splitlines() if STUDY.is_file() else []
    rows = [json.loads(line) for line in lines]
    if not options.table:
        done = {(row["base"], row["arm"], row["seed"]) for row in rows}
        path = bases_in(options.bases)[options.base]
        for seed in range(options.seeds):
            for name in options.arms:
                if (options.base, name, seed) in done:
                    continue
                begin = time.process_time()
                row = {"base": options.base, **one(path, name, seed)}
                rows.append(row)
                with STUDY.open("a", encoding="utf-8") as handle:
                    handle.write(json.dumps(row) + "\n")
                spent = time.process_time() - begin
                print(seed, name, row["after"], f"{spent:.0f} CPU s", flush=True)
    table(rows)


if __name__ == "__main__":
    main()
