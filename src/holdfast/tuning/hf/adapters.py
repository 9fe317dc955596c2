"""LoRA adapters and their relatives: add one, scale one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import InvalidRun

if TYPE_CHECKING:
    from holdfast.tuning.methods.settings import TrainConfig


def add_adapter(model: Any, config: TrainConfig, *, task: str = "CAUSAL_LM") -> Any:
    """Put a fresh adapter on `model`, as `config` describes it, with float32 weights.

    With the default start B is zero, so the model's output does not change yet. PiSSA and OLoRA
    move a part of the weights into the adapter, which leaves their sum as it was.
    """
    from peft import LoraConfig, get_peft_model

    starts = {"default": True, "pissa": "pissa", "olora": "olora"}
    settings = LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout,
        use_rslora=config.rslora, use_dora=config.tuner == "dora",
        init_lora_weights=starts[config.init], bias="none", task_type=task,
        target_modules=(
            config.targets if isinstance(config.targets, str) else list(config.targets)
        ),
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in model.modules()),
    )  # fmt: skip
    return get_peft_model(model, settings)


def attach(model: Any, folder: Path) -> Any:
    """Put the trained adapter in `folder` on `model`, with the output head that it brings."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(folder), is_trainable=False)


def put_factors(model: Any, tensors: dict[str, Any]) -> None:
    """Give the adapter of `model` the tensors of a saved one of the same shape."""
    from peft import set_peft_model_state_dict

    result = set_peft_model_state_dict(model, tensors, adapter_name="default")
    if result.unexpected_keys:
        raise InvalidRun("an adapter does not fit the model", got=str(result.unexpected_keys[:3]))


def factors(model: Any) -> dict[str, Any]:
    """The adapter's tensors by the names under which it is saved."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model, adapter_name="default")
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


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
