"""Atomic training checkpoints in safetensors: weights, optimizer moments, step."""

import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from holdfast.core.errors import UsageError

_MOMENTS = ("exp_avg", "exp_avg_sq")


def save_checkpoint(
    path: Path, label: str, step: int, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write a checkpoint so that a stop at any moment leaves the old or the new one whole."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors[f"weight.{name}"] = parameter.detach()
        for moment in _MOMENTS:
            tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment]
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"label": label, "step": str(step)})
    os.replace(partial, path)


def load_checkpoint(
    path: Path, label: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Restore a checkpoint in place and return the number of steps done; 0 if there is none.

    Raises `UsageError` if the checkpoint belongs to another seed or recipe.
    """
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as stored:
        metadata = stored.metadata()
        if metadata["label"] != label:
            raise UsageError(
                f"checkpoint {path} was written by another run",
                got=metadata["label"],
                expected=label,
                next_step="remove it or choose another output folder",
            )
        step = int(metadata["step"])
        for name, parameter in model.named_parameters():
            parameter.data.copy_(stored.get_tensor(f"weight.{name}"))
            state = {moment: stored.get_tensor(f"{moment}.{name}") for moment in _MOMENTS}
            optimizer.state[parameter] = {"step": torch.tensor(float(step)), **state}
    return step
