"""LoRA adapters: add one, scale one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any


def add_lora(
    model: Any, *, rank: int, alpha: float, dropout: float, targets: str | Sequence[str]
) -> Any:
    """Put a fresh LoRA adapter on `model`; B is zero, so the model's output does not change yet."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, bias="none", task_type="CAUSAL_LM",
        target_modules=targets if isinstance(targets, str) else list(targets),
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in model.modules()),
    )  # fmt: skip
    return get_peft_model(model, config)


@contextlib.contextmanager
def scaled(model: Any, scale: float) -> Iterator[None]:
    """Multiply what every LoRA layer adds by `scale` for the block."""
    from peft.tuners.lora.layer import LoraLayer

    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    before = [dict(layer.scaling) for layer in layers]
    for layer, old in zip(layers, before, strict=True):
        layer.scaling = {name: value * scale for name, value in old.items()}
    try:
        yield
    finally:
        for layer, old in zip(layers, before, strict=True):
            layer.scaling = old
