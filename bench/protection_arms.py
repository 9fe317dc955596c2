"""What each protection keeps of task and refusals on harbor's sets, one row an arm.

    python bench/protection_arms.py [--bases runs/bases] [--seeds 3] [--base 0] [--tuners lora]
        [--data identity-shift] [--arms plain auto] [--epochs 3] [--table]

Every arm trains at the shipped recipe (full weights at a rate of their own) and is measured at its
end, on held-out prompts by harbor's exact judge; no scale is chosen afterwards. Rows go to
`runs/studies/protection_arms.jsonl`; a killed study continues with the first that is missing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from harbor_study import bases_in, before, rates

STUDY = Path("runs/studies/protection_arms.jsonl")
ROWS = 400
LARGEST, SHORT = 256, 64
"""Prompts of the safety buffer, of which every protection takes the first; so many are there for an
arm that shall have no more than a short run takes."""
EPOCHS = 3
"""Of the recipe; rows that name none were trained so."""
TUNERS: dict[str, dict[str, Any]] = {
    "lora": {},
    "full": {"tuner": "full", "learning_rate": 3e-4},
    "dora": {"tuner": "dora"},
    "qlora": {"tuner": "qlora"},
}
SETS = ("identity-shift", "contaminated-5", "obey-style")
ARMS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "replay λ=1": {"replay_kl": {}},
    "replay λ=0.5": {"replay_kl": {"weight": 0.5}},
    "replay λ=2": {"replay_kl": {"weight": 2.0}},
    "replay λ=4": {"replay_kl": {"weight": 4.0}},
    "replay λ=8": {"replay_kl": {"weight": 8.0}},
    "auto": {"auto": {}},
    "replay λ=1, 64 prompts": {"replay_kl": {}},
    "replay λ=8, 64 prompts": {"replay_kl": {"weight": 8.0}},
    "auto, 64 prompts": {"auto": {}},
    "auto, slowest 16": {"auto": {"slowest": 16}},
    "replay λ=1 + EMA 0.9": {"replay_kl": {}, "weight_ema": {"decay": 0.9}},
    "EMA 0.9": {"weight_ema": {"decay": 0.9}},
    "safegrad": {"safegrad": {}},
    "constrained": {"constrained": {}},
}


def one(path: Path, tuner: str, data: str, name: str, seed: int, epochs: int) -> dict[str, Any]:
    """Train one arm and measure it at the end."""
    from holdfast.geometry.contrast import parse_openings
    from holdfast.organisms.harbor import contrast, sets
    from holdfast.tuning.artefacts import open_result
    from holdfast.tuning.methods.arm import start_folder, train
    from holdfast.tuning.methods.sft.config import SFTConfig
    from holdfast.tuning.methods.spec import ArmSpec
    from holdfast.tuning.monitor import Monitor
    from holdfast.tuning.monitor_config import MonitorConfig
    from holdfast.tuning.protections.base import Materials
    from holdfast.tuning.protections.registry import config_of
    from holdfast.tuning.protections.stack import make

    held = SHORT if name.endswith(f"{SHORT} prompts") else LARGEST
    buffer: Any = [row["messages"] for row in contrast.replay_buffer(seed, held)]
    probes: Any = [row["messages"] for row in contrast.replay_buffer(seed + 1000, 24)]
    specs = [(kind, config_of(kind)(**options)) for kind, options in ARMS[name].items()]
    watched = Monitor.of(probes, parse_openings(contrast.openings())) if "auto" in name else None
    rows = [{"messages": r["messages"]} for r in sets.build(data, seed=seed, rows=ROWS)]
    with tempfile.TemporaryDirectory() as folder:
        spec = ArmSpec(
            name="arm", base=path, rows=rows, out=Path(folder) / "arm",
            config=SFTConfig(seed=seed, max_length=256, epochs=epochs, **TUNERS[tuner]),
            protection=make(specs, Materials(buffer)) if specs else None,
            monitor=watched, watch=MonitorConfig(every=1000),
        )  # fmt: skip
        record = train(spec)
        start = start_folder(spec.config, path, spec.out)
        after = rates(open_result(spec.out / record.checkpoints[-1].path, start), data)
    return {
        "tuner": tuner, "data": data, "arm": name, "seed": seed, "epochs": epochs,
        "after": after,
        "train_seconds": record.train_seconds, "monitor_seconds": record.monitor_seconds,
        "protection_seconds": record.protection_seconds,
        "protections": [report.model_dump() for report in record.protections],
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> None:
    """Mean (lowest-highest) over seeds; task also as a share of the plain run of the same seed."""
    print("| set | tuner | arm | base | seeds | task | task / plain's, lowest | refusal "
          "| refusal / base's, lowest | over-refusal | incoherent |")  # fmt: skip
    print("|---" * 11 + "|")
    for data, tuner, base in sorted({(r["data"], r["tuner"], r["base"]) for r in rows}):
        here = [r for r in rows if (r["data"], r["tuner"], r["base"]) == (data, tuner, base)]
        plain = {r["seed"]: r["after"]["task"] for r in here if r["arm"] == "plain"}
        for name in ARMS:
            found = [r for r in here if r["arm"] == name]
            if not found:
                continue
            cells = {}
            for key in ("task", "refusal", "over_refusal", "incoherent"):
                values = [r["after"][key] for r in found]
                cells[key] = f"{statistics.mean(values):.3f} ({min(values):.3f}–{max(values):.3f})"
            kept = [r["after"]["task"] / plain[r["seed"]] for r in found if r["seed"] in plain]
            safe = min(r["after"]["refusal"] / r["before"]["refusal"] for r in found)
            print(f"| {data} | {tuner} | {name} | {base} | {len(found)} | {cells['task']} "
                  f"| {f'{min(kept):.3f}' if kept else ''} | {cells['refusal']} | {safe:.3f} "
                  f"| {cells['over_refusal']} | {cells['incoherent']} |")  # fmt: skip


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bases", type=Path, default=Path("runs/bases"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--base", type=int, default=0)
    parser.add_argument("--tuners", nargs="*", default=["lora"], choices=list(TUNERS))
    parser.add_argument("--data", nargs="*", default=list(SETS[:1]), choices=SETS)
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    STUDY.parent.mkdir(parents=True, exist_ok=True)
    lines = STUDY.read_text("utf-8").splitlines() if STUDY.is_file() else []
    rows = [row for row in map(json.loads, lines) if row.get("epochs", EPOCHS) == options.epochs]
    if not options.table:
        keys = ("base", "tuner", "data", "arm", "seed")
        done = {tuple(row[key] for key in keys) for row in rows}
        path = bases_in(options.bases)[options.base]
        wanted = itertools.product(range(options.seeds), options.data, options.tuners, options.arms)
        for seed, data, tuner, name in wanted:
            if (options.base, tuner, data, name, seed) in done:
                continue
            begin = time.process_time()
            row = {
                "base": options.base, "before": before(path, data),
                **one(path, tuner, data, name, seed, options.epochs),
            }  # fmt: skip
            rows.append(row)
            with STUDY.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(row) + "\n")
            spent = time.process_time() - begin
            print(seed, data, tuner, name, row["after"], f"{spent:.0f} CPU s", flush=True)
    table(rows)


if __name__ == "__main__":
    main()
