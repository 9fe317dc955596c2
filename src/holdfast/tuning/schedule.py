"""When the monitor looks: every step at first, then as often as a time budget allows."""

from __future__ import annotations

from holdfast.core.errors import UsageError


class Schedule:
    """Dense for the first `dense` steps, then spaced so that its cost stays within `budget`.

    Behaviour moves within the first ten to twenty steps, so the dense phase is not rationed; its
    cost is part of the reported monitor seconds. After it, an observation is due when everything
    spent since, together with one more, fits into `budget` times the training time since.
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
        """Seconds spent on observations after the dense phase."""
        self._last = 0.0
        """Seconds of the last observation: the price expected for the next."""
        self._dense_end: float | None = None
        """Training seconds when the dense phase ended."""

    def due(self, step: int, train_seconds: float) -> bool:
        """Whether to look after optimizer step `step` (1-based)."""
        if isinstance(self.every, int):
            return step % self.every == 0
        if step <= self.dense:
            return True
        if self._dense_end is None:
            self._dense_end = train_seconds
        return self._spent + self._last <= self.budget * (train_seconds - self._dense_end)

    def observed(self, step: int, seconds: float) -> None:
        """Account for an observation that was made after `step` and took `seconds`."""
        self._last = seconds
        if step > self.dense:
            self._spent += seconds

    def state(self) -> dict[str, float | None]:
        """Counters, for a checkpoint."""
        return {"spent": self._spent, "last": self._last, "dense_end": self._dense_end}

    def restore(self, state: dict[str, float | None]) -> None:
        """Go on from the counters of a checkpoint."""
        self._spent, self._last = state["spent"] or 0.0, state["last"] or 0.0
        self._dense_end = state["dense_end"]
