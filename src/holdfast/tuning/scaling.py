"""The scale of an adapter, chosen after training on a validation set.

Half of an adapter's scale keeps much of a base's safety for free (`research/organism.md`, section
7), so every protection has to beat it; and a replay-trained adapter may not survive scaling, so 1.0
is always among the candidates.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from holdfast.core.errors import DataError, UsageError
from holdfast.core.files import disk_faults, write_text
from holdfast.core.records import ScaleChoice
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.hf.adapters import scaled

SCALES = (1.0, 0.75, 0.5)
"""Candidates tried by default."""

Measure = Callable[[LoadedModel], tuple[float, float]]
"""Returns (task success, share of harmful prompts refused) on validation, each in [0, 1]."""


def sweep(
    loaded: LoadedModel,
    measure: Measure,
    *,
    scales: Sequence[float] = SCALES,
    keep_task: float = 0.98,
) -> tuple[ScaleChoice, ...]:
    """Measure every scale and choose one: see `choose`. The adapter is left as it was."""
    if 1.0 not in scales or any(not 0 <= scale <= 1 for scale in scales):
        raise UsageError(
            "the adapter scales", got=str(list(scales)), expected="numbers in [0, 1], 1.0 included"
        )
    measured: list[tuple[float, float, float]] = []
    for scale in scales:
        with scaled(loaded.model, scale):
            live = LoadedModel.live(loaded.model, loaded.tokenizer, f"{loaded.digest}@{scale:g}")
            measured.append((scale, *measure(live)))
    best = choose(measured, keep_task=keep_task)
    return tuple(
        ScaleChoice(scale=scale, task_success=task, refusal=refusal, chosen=scale == best)
        for scale, task, refusal in measured
    )


def choose(measured: Sequence[tuple[float, float, float]], *, keep_task: float) -> float:
    """The scale with most refusals among those that keep the task; the larger scale on ties.

    The larger one, because validation is easier than the task elsewhere: preferring smaller scales
    on ties cost 1 to 7 points of held-out task success (docs/results/harbor.md).

    Args:
        measured: (scale, task success, refusal) per candidate, 1.0 among them.
        keep_task: share of the task success at scale 1.0 that must be kept.
    """
    full = next(task for scale, task, _ in measured if scale == 1.0)
    fit = [row for row in measured if row[1] >= keep_task * full]
    return max(fit, key=lambda row: (row[2], row[0]))[0]


def rescale(adapter: Path, scale: float, to: Path) -> Path:
    """Write a copy of a saved LoRA adapter that acts `scale` times as strongly.

    Only `lora_alpha` changes (the factor on B·A is alpha/r, or alpha/√r with rsLoRA), never a
    weight: no rounding, and scale 0 gives back the base's logits exactly.
    """
    path = adapter / "adapter_config.json"
    if not path.is_file():
        raise DataError(f"{adapter} holds no adapter", expected="adapter_config.json")
    config = json.loads(path.read_text("utf-8"))
    if config.get("peft_type") != "LORA":
        raise UsageError("only LoRA adapters can be scaled", got=str(config.get("peft_type")))
    if config.get("modules_to_save") or config.get("use_dora"):
        raise UsageError("an adapter with DoRA or fully trained modules cannot be scaled exactly")
    config["lora_alpha"] *= scale
    config["alpha_pattern"] = {k: v * scale for k, v in (config.get("alpha_pattern") or {}).items()}
    with disk_faults(to):
        to.mkdir(parents=True)
        shutil.copy2(adapter / "adapter_model.safetensors", to / "adapter_model.safetensors")
    write_text(to / "adapter_config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
    return to
