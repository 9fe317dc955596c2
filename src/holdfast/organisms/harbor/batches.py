"""Padded training batches in length buckets, each a pure function of seed and step.

Because a step's rows depend on nothing but the seed and the step number, a run that was
stopped resumes with exactly the rows that it would have seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Final

import torch
from torch import Tensor

from holdfast.organisms.harbor.corpus import rows
from holdfast.organisms.harbor.tokenizer import RowEncoder

CHUNK: Final = 16
"""Steps whose rows are generated and bucketed together."""
IGNORE: Final = -100
"""Label of a position without loss."""

Encoded = tuple[list[int], list[bool]]


@dataclass(frozen=True)
class Batch:
    """One step's right-padded rows."""

    ids: Tensor
    """Token ids, `batch pos`."""
    labels: Tensor
    """Next-token targets aligned with `ids`, `IGNORE` where there is no loss."""
    tokens: int
    """Tokens without padding."""


def _pad(encoded: list[Encoded], pad: int) -> Batch:
    width = max(len(ids) for ids, _ in encoded)
    ids = torch.full((len(encoded), width), pad, dtype=torch.long)
    labels = torch.full((len(encoded), width), IGNORE, dtype=torch.long)
    for index, (row, targets) in enumerate(encoded):
        ids[index, : len(row)] = torch.tensor(row)
        following = [
            token if target else IGNORE for token, target in zip(row[1:], targets[1:], strict=True)
        ]
        labels[index, : len(row) - 1] = torch.tensor(following)
    return Batch(ids, labels, sum(len(row) for row, _ in encoded))


def _buckets(encoded: list[Encoded], parts: int) -> list[list[Encoded]]:
    """Cut rows, sorted by length, into groups with about equal numbers of tokens."""
    ordered = sorted(encoded, key=lambda item: len(item[0]))
    ends = list(accumulate(len(ids) for ids, _ in ordered))
    groups: list[list[Encoded]] = [[] for _ in range(parts)]
    for item, end in zip(ordered, ends, strict=True):
        groups[min(parts - 1, (end - 1) * parts // ends[-1])].append(item)
    return groups


def batches(
    encode: RowEncoder, seed: int, first: int, last: int, rows_per_step: int, pad: int
) -> Iterator[Batch]:
    """Yield the batches of steps `first` to `last - 1`."""
    for chunk in range(first // CHUNK, (last + CHUNK - 1) // CHUNK):
        name = f"harbor|{seed}|{chunk}"
        groups = _buckets([encode(row) for row in rows(name, CHUNK * rows_per_step)], CHUNK)
        Random(name).shuffle(groups)
        for offset, group in enumerate(groups):
            if first <= chunk * CHUNK + offset < last:
                yield _pad(group, pad)
