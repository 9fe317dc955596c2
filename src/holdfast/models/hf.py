"""The door to PEFT for what reads models; `tuning.hf` is the one for what trains them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import nn

from holdfast.core.errors import IntegrityError, UsageError

WEIGHTS = "adapter_model.safetensors"


def attach_adapter(model: nn.Module, folder: Path) -> PeftModel:
    """Put the adapter in `folder` on `model`, in place, ready to be asked and not trained.

    Raises:
        UsageError: no adapter in the folder, pickled weights, or one that adds virtual tokens.
        IntegrityError: weights are truncated, are not those that the configuration describes, or do
            not fit the base.
    """
    path = folder / WEIGHTS
    if not (folder / "adapter_config.json").is_file() or not path.is_file():
        raise UsageError(
            f"{folder} holds no adapter",
            expected=f"adapter_config.json and {WEIGHTS} (pickled weights are never opened)",
        )
    names = _tensor_names(path)
    try:
        config = PeftConfig.from_pretrained(str(folder))
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{folder}/adapter_config.json cannot be used ({_line(error)})") from error
    if config.is_prompt_learning:
        raise UsageError(
            f"{folder} is a {config.peft_type.value} adapter, which adds virtual tokens",
            expected="an adapter on weights, such as LoRA",
        )
    try:
        adapted = PeftModel.from_pretrained(model, str(folder), config=config, is_trainable=False)
    except (RuntimeError, ValueError) as error:
        raise IntegrityError(
            f"the adapter in {folder} does not fit this base ({_line(error)})",
            next_step="load it on the base that it was trained on",
        ) from error
    # PEFT leaves tensors that the file lacks at their random start and only warns.
    lost = set(get_peft_model_state_dict(adapted)) ^ names
    if lost:
        raise IntegrityError(
            f"{path} does not match its configuration: {len(lost)} tensors, first '{min(lost)}'",
            next_step="copy the adapter again from where it was trained",
        )
    return adapted


def wrap_lora(
    model: nn.Module, *, rank: int, targets: str | Sequence[str] = "all-linear", seed: int = 0
) -> PeftModel:
    """A LoRA adapter whose two factors are both random, so that it changes the model at once.

    For tests and conformance suites; training starts from a zero second factor instead.
    """
    chosen = targets if isinstance(targets, str) else list(targets)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=chosen, task_type="CAUSAL_LM")
    config.fan_in_fan_out = any(type(m).__name__ == "Conv1D" for m in model.modules())
    adapted: Any = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(noise / parameter.shape[1] ** 0.5)
    return adapted.eval()


def _tensor_names(path: Path) -> set[str]:
    try:
        with safe_open(str(path), framework="pt") as handle:
            return set(handle.keys())
    except SafetensorError as error:
        raise IntegrityError(
            f"{path} is corrupted ({_line(error)})", next_step="copy the adapter again"
        ) from error


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()[:160]
