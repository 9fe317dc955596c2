"""The few prompts that the monitor looks at on every observation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.geometry.contrast import HARMFUL, ContrastRow, select
from holdfast.geometry.fitted import FittedMap
from holdfast.geometry.resampling import stream


@dataclass(frozen=True)
class ProbeSet:
    """Validation prompts of the map, harmful first; the base's activations on them are known."""

    indices: tuple[int, ...]
    """Rows of the map's contrast set."""
    rows: tuple[ContrastRow, ...]
    """Those rows."""

    @classmethod
    def pick(
        cls, fitted: FittedMap, *, seed: int, harmful: int = 24, harmless: int = 24
    ) -> ProbeSet:
        """Draw prompts in turn from every harm category; fewer where the split holds fewer."""
        held = select(fitted.rows, "validation", HARMFUL)
        chosen: list[int] = []
        for label, wanted in ((1, harmful), (0, harmless)):
            pool = [i for i in held if fitted.rows[i].label == label]
            if not pool or wanted < 1:
                raise DataError(f"no validation prompt with label {label} for the probe")
            chosen += _in_turn(fitted.rows, pool, wanted, seed, label)
        return cls(tuple(chosen), tuple(fitted.rows[i] for i in chosen))

    @property
    def conversations(self) -> list[Messages]:
        """All probe conversations, harmful first."""
        return [row.messages for row in self.rows]

    @property
    def harmful(self) -> list[Messages]:
        """The harmful ones, whose margins are watched."""
        return [row.messages for row in self.rows if row.label == 1]

    @property
    def labels(self) -> Tensor:
        """[n] bool: harmful or not."""
        return torch.tensor([row.label == 1 for row in self.rows])


def _in_turn(
    rows: tuple[ContrastRow, ...], pool: list[int], wanted: int, seed: int, label: int
) -> list[int]:
    """Up to `wanted` of `pool`, round robin over categories, each shuffled by the seed."""
    order = torch.randperm(len(pool), generator=stream(seed, "probe", label)).tolist()
    queues: dict[str, list[int]] = {}
    for position in order:
        queues.setdefault(rows[pool[position]].category, []).append(pool[position])
    turns = [
        (turn, category, index)
        for category, queue in queues.items()
        for turn, index in enumerate(queue)
    ]
    return [index for _, _, index in sorted(turns)[:wanted]]
