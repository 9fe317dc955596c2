"""A run that runs away: its loss is still a number, and far above where it began."""

from __future__ import annotations

import statistics
from collections import deque
from typing import TYPE_CHECKING, Any

from transformers.trainer_callback import TrainerCallback

from holdfast.core.errors import InvalidRun

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

WINDOW = 8
"""Losses in the median that is compared with the first loss."""


class DivergenceGuard(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Ends a run whose median loss of the last `WINDOW` steps exceeds `factor` times its start.

    The start is the first loss logged, with a floor of one nat: a loss that begins near zero may
    rise a little without harm. A resumed run begins anew. Checkpoints already written stay.

    Args:
        factor: how many times the start; None watches nothing (reinforcement learning, whose loss
            is no measure of anything).
    """

    def __init__(self, factor: float | None) -> None:
        self.factor = factor
        self.first: float | None = None
        self._last: deque[float] = deque(maxlen=WINDOW)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the loss in and compare."""
        if self.factor is None or not logs or "loss" not in logs:
            return
        value = float(logs["loss"])
        self.first = value if self.first is None else self.first
        self._last.append(value)
        limit = self.factor * max(self.first, 1.0)
        if len(self._last) == WINDOW and statistics.median(self._last) > limit:
            raise InvalidRun(
                f"training diverges: the loss at step {state.global_step} is far above its start",
                got=f"a median of {statistics.median(self._last):.2f} over {WINDOW} steps",
                expected=f"at most {limit:.2f}",
                next_step="lower the learning rate; earlier checkpoints are intact",
            )
