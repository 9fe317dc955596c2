"""When the monitor looks: every step at first, then as often as a time budget allows."""

from __future__ import annotations

from holdfast.core.errors import UsageError

EXPLAIN_EVERY = 5
"""In the dense phase the drifts, which explain and raise no alarm, are measured every n-th step."""


class Schedule:
    """Dense for the first `dense` steps, then spaced so that all of it stays within `budget`.

    Behaviour moves within the first ten to twenty steps, so the dense phase is not rationed, but
    it counts: after it, an observation is due when everything spent so far, together with one more,
    fits into `budget` times the training time so far.
    """

    def __init__(self, every: int | str = "auto", *, dense: int = 20, budget: float = 0.02) -> None:
        if every != "auto" and (not isinstance(every, int) or every < 1):
            raise UsageError("the monitor's interval", got=repr(every), expected="'auto' or n >= 1")
        if dense < 0 or not 0 < budget <= 1:
            raise UsageError(
                "the monitor's schedule",
                got=f"dense={dense}, budget={budget}",
                expected="dense >= 0 and 0 < budget <= 1",
            )
        self.every, self.dense, self.budget = every, dense, budget
        self._spent = 0.0
        """Seconds spent on observations."""
        self._last = 0.0
        """Seconds of the last observation with drifts: the price expected for the next."""

    def due(self, step: int, train_seconds: float) -> bool:
        """Whether to look after optimizer step `step` (1-based)."""
        if isinstance(self.every, int):
            return step % self.every == 0
        return step <= self.dense or self._spent + self._last <= self.budget * train_seconds

    def explains(self, step: int) -> bool:
        """Whether the look after `step` should measure the drifts too."""
        dense = self.every == "auto" and step < self.dense
        return not dense or step % EXPLAIN_EVERY == 0

    def observed(self, step: int, seconds: float) -> None:
        """Account for an observation that was made after `step` and took `seconds`."""
        self._spent += seconds
        if self.explains(step):
            self._last = seconds

    def spent(self, seconds: float) -> None:
        """Account for work of the monitor between two observations."""
        self._spent += seconds

    def state(self) -> dict[str, float]:
        """Counters, for a checkpoint."""
        return {"spent": self._spent, "last": self._last}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from the counters of a checkpoint."""
        self._spent, self._last = state["spent"], state["last"]
