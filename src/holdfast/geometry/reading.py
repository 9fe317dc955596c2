"""Activations of a contrast set, read once per conversation and checked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from holdfast.core.digest import prompt_digest
from holdfast.core.errors import InvalidRun
from holdfast.geometry.contrast import ContrastRow
from holdfast.models.activations import last_prompt
from holdfast.models.loaded import LoadedModel


def activations_of(
    loaded: LoadedModel, rows: Sequence[ContrastRow], layers: Sequence[int], batch_size: int = 32
) -> dict[int, Tensor]:
    """`last_prompt` activations [n, d] of all rows; a conversation that recurs is read once."""
    keys = [prompt_digest(row.messages) for row in rows]
    unique = {key: row.messages for key, row in zip(keys, rows, strict=True)}
    position = {key: index for index, key in enumerate(unique)}
    found = last_prompt(loaded, list(unique.values()), layers, batch_size=batch_size)
    index = torch.tensor([position[key] for key in keys])
    return {layer: tensor[index] for layer, tensor in found.items()}


def finite(activations: Tensor, *, who: str, where: str) -> Tensor:
    """`activations` in float64, or an `InvalidRun` where some are NaN or infinite."""
    if not bool(torch.isfinite(activations).all()):
        raise InvalidRun(
            f"the activations of {who} at {where} are not finite",
            next_step="the weights are broken; go back to an earlier checkpoint",
        )
    return activations.double()
