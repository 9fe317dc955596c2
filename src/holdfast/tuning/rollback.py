"""Going back inside a run: the last state that passed, kept in memory."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class Snapshot:
    """Trainable parameters and optimizer state after one optimizer step.

    The learning-rate schedule and the data order are not part of it: a run that rolls back also
    stops. Costs one copy of what is trained and of its optimizer state, on the same device.
    """

    def __init__(self, step: int, model: nn.Module, optimizer: Any) -> None:
        self.step = step
        self._weights = {
            name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad
        }
        self._optimizer = copy.deepcopy(optimizer.state_dict())

    @torch.no_grad()
    def restore(self, model: nn.Module, optimizer: Any) -> None:
        """Put both back in place, bit for bit."""
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(self._weights[name])
        optimizer.load_state_dict(copy.deepcopy(self._optimizer))
