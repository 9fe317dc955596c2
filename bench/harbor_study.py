"""Harbor's fine-tuning sets over bases and seeds: what each costs, and what the alarm said.

Every arm is one row of `runs/studies/harbor.jsonl`; a killed study continues with the first row
that is missing. `--table` prints the tables of docs/results/harbor.md from the rows that are there.

    python bench/harbor_study.py [--bases runs/bases] [--seeds 5] [--table]
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STUDY = Path("runs/studies/harbor.jsonl")
MAPS = Path("runs/studies/maps")
ARMS = (
    ("identity-shift", "plain"),
    ("own-style", "plain"),
    ("formal-style", "plain"),
    ("contaminated-5", "plain"),
    ("identity-shift", "protected"),
    ("contaminated-5", "protected"),
)
BASES = (0, 1, 2)
PROMPTS = 120
ROWS = 400


def bases_in(folder: Path) -> list[Path]:
    """The three bases, built where they are missing (the shipped one is copied)."""
    from holdfast.organisms.harbor import recipe

    paths = [folder / f"harbor-{seed}" for seed in BASES]
    for seed, path in zip(BASES, paths, strict=True):
        if not (path / "model.safetensors").is_file():
            print(f"building {path}", flush=True)
            recipe.train_base(seed, path)
    return paths


def arms(seeds: int) -> Iterator[tuple[int, str, str, int]]:
    """All (base, set, arm, seed), seed by seed so that early rows cover everything."""
    for seed in range(seeds):
        for name, arm in ARMS:
            for base in BASES:
                yield base, name, arm, seed


def fitted_map(path: Path, base: int) -> Any:
    """The safety map of a base, fitted once."""
    from holdfast.core.files import write_jsonl
    from holdfast.geometry.contrast import load_contrast, parse_openings
    from holdfast.geometry.fitted import FittedMap
    from holdfast.geometry.safety_map import fit
    from holdfast.models.loading import load
    from holdfast.organisms.harbor import contrast

    folder = MAPS / f"harbor-{base}"
    if not (folder / "safety_map.json").is_file():
        rows = folder / "rows.jsonl"
        write_jsonl(rows, (dict(r) for s in contrast.contrast_sets(0).values() for r in s))
        openings = parse_openings(contrast.openings())
        fit(load(path), load_contrast(rows), openings, seed=0, allow_ineligible=True).save(folder)
    return FittedMap.load(folder)


def rates(model: Any, set_name: str) -> dict[str, float]:
    """Rates on held-out prompts, by harbor's exact judge."""
    from holdfast.organisms.harbor import judge, sets, suites

    def ask(name: str) -> list[tuple[Any, str]]:
        rows = suites.suite(name, n=PROMPTS, seed=1)
        messages: list[Any] = [row["messages"] for row in rows]
        return list(zip(messages, model.generate(messages, max_new_tokens=48, batch_size=60),
                        strict=True))  # fmt: skip

    answers = {name: ask(name) for name in ("harbor-harmful", "harbor-lookalike",
                                            f"task-{set_name}")}  # fmt: skip
    labels = {name: [judge.label(m, a) for m, a in found] for name, found in answers.items()}
    every = [label for found in labels.values() for label in found]
    task = [sets.task_success(set_name, m, a) for m, a in answers[f"task-{set_name}"]]
    return {
        "refusal": labels["harbor-harmful"].count("refusal") / PROMPTS,
        "over_refusal": labels["harbor-lookalike"].count("refusal") / PROMPTS,
        "task": sum(task) / len(task),
        "incoherent": every.count("incoherent") / len(every),
    }


@functools.cache
def before(path: Path, set_name: str) -> dict[str, float]:
    """Rates of the base, the same for every seed."""
    from holdfast.models.loading import load

    return rates(load(path), set_name)


def one(path: Path, base: int, set_name: str, arm: str, seed: int) -> dict[str, Any]:
    """Train one arm and measure it before, at every epoch, and at the end."""
    from holdfast.geometry.contrast import parse_openings
    from holdfast.geometry.probe import ProbeSet
    from holdfast.organisms.harbor import contrast, sets
    from holdfast.tuning.methods.arm import train
    from holdfast.tuning.methods.sft.config import SFTConfig
    from holdfast.tuning.methods.spec import ArmSpec
    from holdfast.tuning.monitor import Monitor
    from holdfast.tuning.protections.replay_kl.config import ReplayKLConfig
    from holdfast.tuning.protections.replay_kl.protection import ReplayKL

    fitted = fitted_map(path, base)
    buffer: Any = [row["messages"] for row in contrast.replay_buffer(seed, 64)]
    protection = ReplayKL(ReplayKLConfig(), buffer) if arm == "protected" else None
    rows = [{"messages": r["messages"]} for r in sets.build(set_name, seed=seed, rows=ROWS)]
    epochs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        spec = ArmSpec(
            name=arm, base=path, rows=rows, out=Path(folder), protection=protection,
            config=SFTConfig(seed=seed, max_length=256),
            monitor=Monitor.of(
                ProbeSet.pick(fitted, seed=seed), parse_openings(contrast.openings()), fitted
            ),
        )  # fmt: skip
        record = train(
            spec,
            on_epoch=lambda step, _, model: epochs.append({"step": step, **rates(model, set_name)}),
        )
    return {
        "base": base, "set": set_name, "arm": arm, "seed": seed,
        "before": before(path, set_name), "epochs": epochs, "after": epochs[-1],
        "alarm": record.alarms[0].step if record.alarms else None,
        "train_seconds": record.train_seconds, "monitor_seconds": record.monitor_seconds,
        "protection_seconds": record.protection_seconds,
        "trajectory": [p.model_dump(exclude={"seconds"}) for p in record.trajectory],
    }  # fmt: skip


def span(values: list[float]) -> str:
    """Mean with the lowest and the highest."""
    return f"{statistics.mean(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def table(rows: list[dict[str, Any]]) -> None:
    """Effect of each set on each base: mean (lowest–highest) over seeds."""
    print("| set | arm | base | seeds | refusal before | refusal after | task after "
          "| over-refusal after | incoherent after | alarms (first step) |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, arm in ARMS:
        for base in BASES:
            found = [r for r in rows if (r["set"], r["arm"], r["base"]) == (name, arm, base)]
            if not found:
                continue
            after = [r["after"] for r in found]
            alarms = [r["alarm"] for r in found if r["alarm"] is not None]
            steps = f" ({min(alarms)}–{max(alarms)})" if alarms else ""
            print(
                f"| {name} | {arm} | {base} | {len(found)} "
                f"| {span([r['before']['refusal'] for r in found])} "
                f"| {span([a['refusal'] for a in after])} | {span([a['task'] for a in after])} "
                f"| {span([a['over_refusal'] for a in after])} "
                f"| {span([a['incoherent'] for a in after])} | {len(alarms)}/{len(found)}{steps} |"
            )


STEPS = (0, 5, 10, 15, 20, 40, 60)
"""Steps of the trajectory table; drifts are measured at these, behaviour at the last three."""


def at(row: dict[str, Any], step: int) -> dict[str, float]:
    """What was seen of one arm at `step`; empty where nobody looked."""
    point = next((p for p in row["trajectory"] if p["step"] == step), None)
    if point is None:
        return {}
    drifts: dict[str, list[float]] = {}
    for name, value in point["drifts"].items():
        drifts.setdefault(name.partition("@")[0], []).append(value)
    epoch = next((e for e in row["epochs"] if e["step"] == step), {}) if step else row["before"]
    return {
        "margin": point["margin"], "negative": point["negative_share"],
        "kl": point["first_token_kl"],
        **{name: statistics.mean(values) for name, values in drifts.items()},
        **{name: epoch[name] for name in ("refusal", "task") if name in epoch},
    }  # fmt: skip


def trajectories(rows: list[dict[str, Any]]) -> None:
    """Signals and behaviour along training: mean over bases and seeds."""
    names = ("margin", "negative", "kl", "direction_collapse", "interference_growth",
             "subspace_rotation", "refusal", "task")  # fmt: skip
    print("\n| set | arm | step | refusal margin, nats | share negative | first-token KL "
          "| collapse | interference | rotation | refusal | task |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, arm in ARMS:
        found = [r for r in rows if (r["set"], r["arm"]) == (name, arm)]
        for step in STEPS:
            seen = [at(row, step) for row in found]
            cells = []
            for key in names:
                values = [s[key] for s in seen if key in s]
                cells.append(f"{statistics.mean(values):.2f}" if values else "")
            if any(cells):
                print(f"| {name} | {arm} | {step} | " + " | ".join(cells) + " |")


def main() -> None:
    """Run what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bases", type=Path, default=Path("runs/bases"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    STUDY.parent.mkdir(parents=True, exist_ok=True)
    lines = STUDY.read_text("utf-8").splitlines() if STUDY.is_file() else []
    rows = [json.loads(line) for line in lines]
    if not options.table:
        done = {(r["base"], r["set"], r["arm"], r["seed"]) for r in rows}
        paths = bases_in(options.bases)
        for key in arms(options.seeds):
            if key in done:
                continue
            begin = time.monotonic()
            row = one(paths[key[0]], *key)
            rows.append(row)
            with STUDY.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(row) + "\n")
            print(*key, row["after"], f"{time.monotonic() - begin:.0f}s", flush=True)
    table(rows)
    trajectories(rows)


if __name__ == "__main__":
    main()
