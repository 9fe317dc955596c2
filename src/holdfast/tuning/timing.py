"""One clock for a training arm: what was training, and what was ours."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Wall time of a run split into named parts; what no part claims is training.

    On a GPU, work is queued: time is booked where the host waits for it, so shares there are
    close but not exact.
    """

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._before = 0.0
        self._started: float | None = None

    def start(self) -> None:
        """Begin to count."""
        self._started = time.perf_counter()

    def stop(self) -> None:
        """Stop counting; harmless when the clock does not run."""
        self._before = self.total
        self._started = None

    @property
    def total(self) -> float:
        """Seconds counted so far, all parts together."""
        running = 0.0 if self._started is None else time.perf_counter() - self._started
        return self._before + running

    @property
    def training(self) -> float:
        """Seconds that belong to no named part."""
        return max(0.0, self.total - sum(self.parts.values()))

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Book the time of the block under `name`."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - begin
            self.parts[name] = self.parts.get(name, 0.0) + seconds
            if self._started is None:
                self._before += seconds

    def state(self) -> dict[str, float]:
        """Everything counted, for a checkpoint."""
        return {**self.parts, "training": self.training}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from the counts of a checkpoint."""
        self.parts = {name: value for name, value in state.items() if name != "training"}
        self._before = sum(state.values())
