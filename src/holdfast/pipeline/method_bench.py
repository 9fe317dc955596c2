"""The method risk table as a measurement: every method at the same task success, what it cost.

Folklore says full > LoRA by rank > QLoRA ≈ DoRA > RLHF in lost safety. Compared after equal epochs,
methods differ in how well they learnt the task, and that alone moves safety. So each one is trained
until it first reaches the same task success on validation, and is then measured on test prompts.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.core.errors import InvalidRun, UsageError
from holdfast.core.files import read_jsonl
from holdfast.core.protocols import Messages, Progress, no_progress
from holdfast.core.registry import nearest
from holdfast.core.seeds import derive
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.organisms.harbor import judge, preferences, sets, suites
from holdfast.tuning.artefacts import open_result
from holdfast.tuning.methods.arm import start_folder, train
from holdfast.tuning.methods.dpo.config import DPOConfig
from holdfast.tuning.methods.reward.config import RewardConfig
from holdfast.tuning.methods.rlhf.config import RLHFConfig
from holdfast.tuning.methods.settings import TrainConfig
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.tuning.methods.spec import ArmSpec

ROWS = 400
SUITES = ("harbor-harmful", "harbor-jailbreak", "harbor-lookalike")
SFT = {"max_length": 256, "checkpoint_every": 4, "epochs": 3}
SLOW = {"max_length": 256, "checkpoint_every": 10, "epochs": 4}
RL = {
    "max_length": 256, "checkpoint_every": 8, "epochs": 2,
    "reward": RewardConfig(max_length=256),
}  # fmt: skip
METHODS: dict[str, TrainConfig] = {
    "full": SFTConfig(tuner="full", learning_rate=3e-4, **SFT),
    "lora r32": SFTConfig(rank=32, alpha=64, **SFT),
    "lora r8": SFTConfig(rank=8, alpha=16, **SFT),
    "lora r2": SFTConfig(rank=2, alpha=4, **SFT),
    "lora r1": SFTConfig(rank=1, alpha=2, **SFT),
    "rslora r8": SFTConfig(rank=8, alpha=16 / 8**0.5, rslora=True, **SFT),
    "pissa r8": SFTConfig(rank=8, alpha=16, init="pissa", **SFT),
    "olora r8": SFTConfig(rank=8, alpha=16, init="olora", **SFT),
    "dora r8": SFTConfig(tuner="dora", rank=8, alpha=16, **SFT),
    "qlora r8": SFTConfig(tuner="qlora", rank=8, alpha=16, **SFT),
    "dpo r8": DPOConfig(learning_rate=3e-4, sft_weight=0.2, **SLOW),
    "grpo r8": RLHFConfig(algorithm="grpo", **RL),
    "rloo r8": RLHFConfig(algorithm="rloo", **RL),
}  # fmt: skip
"""Settings of each method on harbor; rates are usual for the method, not tuned for safety."""


@dataclass(frozen=True)
class Setting:
    """What all methods share."""

    base: Path
    """Folder of a harbor base."""
    data: str = "identity-shift"
    """Harbor set that is learnt."""
    target: float | None = 0.9
    """Task success on validation at which a method is stopped and measured; None: after its whole
    budget of epochs."""
    prompts: int = 120
    """Test prompts of each suite."""
    validation: int = 60
    """Validation rows that decide when to stop."""


class _Reached(Exception):
    """The target is reached; the checkpoint that did it is already on disk."""


def run(
    setting: Setting, out: Path, *, seeds: Sequence[int], methods: Sequence[str] = (),
    progress: Progress = no_progress,
) -> list[dict[str, Any]]:  # fmt: skip
    """Train and measure what `out` (JSON Lines) does not hold yet; return all rows of the setting.

    Args:
        setting: base, data and target.
        out: one line per method and seed; a killed bench goes on with the first that is missing.
        seeds: seeds of data order, adapters and sampling.
        methods: names of `METHODS`; all where empty.
        progress: told about each arm.

    Raises:
        UsageError: no such method.
    """
    for name in methods:
        if name not in METHODS:
            raise UsageError(f"unknown method '{name}'", next_step=nearest(name, list(METHODS)))
    base = load(setting.base)
    shared = {
        "base": base.digest, "data": setting.data, "target": setting.target,
        "prompts": setting.prompts,
    }  # fmt: skip
    rows = read_jsonl(out) if out.is_file() else []
    rows = [row for row in rows if all(row.get(k) == v for k, v in shared.items())]
    wanted = [(seed, name) for seed in seeds for name in (methods or METHODS)]
    done = {(row["seed"], row["method"]) for row in rows}
    if any((seed, "base") not in done for seed in seeds[:1]):
        first = {**shared, "method": "base", "seed": seeds[0], **_measure(base, setting)}
        rows.append(_kept(out, first))
    for number, (seed, name) in enumerate(wanted):
        if (seed, name) in done:
            continue
        progress(f"{name}, seed {seed}", number, len(wanted))
        found = _one(setting, out.parent / "arms", name, seed)
        rows.append(_kept(out, {**shared, "method": name, "seed": seed, **found}))
    return [
        row for row in rows if row["method"] == "base" or (row["seed"], row["method"]) in wanted
    ]


def _kept(out: Path, row: dict[str, Any]) -> dict[str, Any]:
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(row) + "\n")
    return row


def _one(setting: Setting, arms: Path, name: str, seed: int) -> dict[str, Any]:
    """Train one method until it reaches the target, then measure it."""
    changes: dict[str, Any] = {"seed": seed, "device": "cpu"}
    if setting.target is None:
        changes["checkpoint_every"] = None
    config = METHODS[name].model_copy(update=changes)
    where = "budget" if setting.target is None else f"{setting.target:g}"
    folder = arms / f"{setting.data}-{where}-{seed}-{name.replace(' ', '-')}"
    arm = ArmSpec(
        name, setting.base, _rows(setting, config, seed), folder, config,
        judge=lambda messages, answer: sets.task_success(setting.data, messages, answer),
    )  # fmt: skip
    path: list[tuple[int, float]] = []

    def watch(step: int, _: float, model: LoadedModel) -> None:
        path.append((step, _task(model, setting, "validation", setting.validation)))
        if setting.target is not None and path[-1][1] >= setting.target:
            raise _Reached

    began, stopped = time.monotonic(), ""
    try:
        train(arm, on_epoch=watch)
    except _Reached:
        pass
    except InvalidRun as error:
        stopped = str(error)
    seconds = time.monotonic() - began
    if not path:
        return {"reached": False, "stopped": stopped, "step": 0, "path": [], "seconds": seconds}
    step = path[-1][0]
    start = start_folder(config, setting.base, folder)
    model = open_result(folder / "epochs" / f"{step:06d}", start)
    found = _measure(model, setting)
    shutil.rmtree(folder)
    return {
        "reached": not stopped and path[-1][1] >= (setting.target or 0.0), "stopped": stopped,
        "step": step, "path": path,
        "seconds": seconds, **found,
    }  # fmt: skip


def _rows(setting: Setting, config: TrainConfig, seed: int) -> list[dict[str, Any]]:
    drawn = derive(seed, "data")
    if isinstance(config, SFTConfig):
        built = sets.build(setting.data, seed=drawn, rows=ROWS)
        return [{"messages": row["messages"]} for row in built]
    pairs = preferences.build(setting.data, seed=drawn, rows=ROWS)
    return [{k: row[k] for k in ("messages", "chosen", "rejected")} for row in pairs]


def _ask(model: LoadedModel, rows: list[dict[str, Any]]) -> list[tuple[Messages, str]]:
    messages: list[Messages] = [row["messages"] for row in rows]
    answers = model.generate(messages, max_new_tokens=48, batch_size=60)
    return list(zip(messages, answers, strict=True))


def _task(model: LoadedModel, setting: Setting, split: sets.Split, n: int) -> float:
    rows: Any = suites.suite(f"task-{setting.data}", n=n, seed=1, split=split)
    asked = _ask(model, rows)
    return sum(sets.task_success(setting.data, m, a) for m, a in asked) / n


def _measure(model: LoadedModel, setting: Setting) -> dict[str, Any]:
    """Labels of every test prompt, in the order that all methods share, and task success."""
    labels: dict[str, list[str]] = {}
    for suite in SUITES:
        rows: Any = suites.suite(suite, n=setting.prompts, seed=1)
        labels[suite] = [judge.label(m, a) for m, a in _ask(model, rows)]
    return {"labels": labels, "task": _task(model, setting, "test", setting.prompts)}
