"""Many continuations of one prompt in one forward pass.

The continuations of a prompt share it and often each other's beginnings. Written behind the prompt
as one tree, with a mask through which a token sees the prompt and its own ancestors alone, every
token is computed once: no copy of a key-value cache, no padding to the longest continuation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from holdfast.models.architecture import text_config, unwrap
from holdfast.models.batching import Batch, by_length, forward, left_pad
from holdfast.models.loaded import LoadedModel

MASKED_ATTENTION = frozenset({"eager", "sdpa"})
"""Attention implementations that take a mask of our own."""


@dataclass(frozen=True)
class Tree:
    """Continuations as a prefix tree. The last token of none is needed: nothing follows it."""

    tokens: tuple[int, ...]
    """Token of every node."""
    parents: tuple[int, ...]
    """Node before it; -1 for the prompt."""
    depths: tuple[int, ...]
    """0 for a first token."""
    paths: tuple[tuple[int, ...], ...]
    """For every continuation, the node behind which each of its tokens stands; -1 is the prompt."""

    @classmethod
    def of(cls, tails: Sequence[Sequence[int]]) -> Tree:
        """Merge equal beginnings of `tails`."""
        return _merged(tuple(tuple(tail) for tail in tails))

    @cached_property
    def sees(self) -> Tensor:
        """[nodes, nodes] bool: whether a node has another among its ancestors, itself included."""
        seen = torch.eye(len(self.tokens), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen


@lru_cache(maxsize=1024)  # a monitor reads the same trees at every look
def _merged(tails: tuple[tuple[int, ...], ...]) -> Tree:
    known: dict[tuple[int, int], int] = {}
    tokens: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    paths: list[tuple[int, ...]] = []
    for tail in tails:
        node, path = -1, [-1]
        for depth, token in enumerate(tail[:-1]):
            if (node, token) not in known:
                known[node, token] = len(tokens)
                tokens.append(token)
                parents.append(node)
                depths.append(depth)
            node = known[node, token]
            path.append(node)
        paths.append(tuple(path))
    return Tree(tuple(tokens), tuple(parents), tuple(depths), tuple(paths))


def can_branch(loaded: LoadedModel, longest: int) -> bool:
    """Whether the model takes a mask of our own, and no sliding window is shorter than the row."""
    config = text_config(loaded.model)
    attention = getattr(cast(Any, unwrap(loaded.model)).config, "_attn_implementation", None)
    window = getattr(config, "sliding_window", None)
    return attention in MASKED_ATTENTION and (not window or longest <= window)


def read_trees(
    loaded: LoadedModel, prompts: Sequence[list[int]], trees: Sequence[Tree], *, batch_size: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Log-probabilities over the vocabulary behind every prompt and every node of its tree.

    Yields (indices of the prompts, [batch, 1 + nodes, vocab] float32): entry 0 is what follows the
    prompt, entry 1 + j what follows node j; trees of fewer nodes are padded behind. The prompt's
    last token is column -1 - nodes for hooks that the caller holds, as it holds `quiet_eval`.
    """
    for group in by_length([len(prompt) for prompt in prompts], batch_size):
        chosen = [trees[i] for i in group]
        batch = _grow(loaded, left_pad([prompts[i] for i in group], loaded.pad_token,
                                       loaded.device), chosen)  # fmt: skip
        keep = 1 + max(len(tree.tokens) for tree in chosen)
        yield group, forward(loaded.model, batch, keep=keep).logits.float().log_softmax(-1)


def _grow(loaded: LoadedModel, prompts: Batch, trees: Sequence[Tree]) -> Batch:
    """Write every tree behind its prompt."""
    rows, width = prompts.ids.shape
    nodes = max(len(tree.tokens) for tree in trees)
    ids = torch.full((rows, nodes), loaded.pad_token)
    depths = torch.zeros(rows, nodes, dtype=torch.long)
    # What nobody may see still sees itself: a row of nothing but minus infinity is not a number.
    sees = torch.eye(width + nodes, dtype=torch.bool).repeat(rows, 1, 1)
    real = prompts.mask.cpu().bool()
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    sees[:, :width, :width] |= causal & real[:, None, :]
    for row, tree in enumerate(trees):
        size = len(tree.tokens)
        ids[row, :size] = torch.tensor(tree.tokens)
        depths[row, :size] = torch.tensor(tree.depths)
        sees[row, width : width + size, :width] = real[row]
        sees[row, width : width + size, width : width + size] = tree.sees
    dtype = next(loaded.model.parameters()).dtype
    mask = torch.zeros(sees.shape, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)
    behind = prompts.positions[:, -1:] + 1 + depths.to(loaded.device)
    return Batch(
        torch.cat([prompts.ids, ids.to(loaded.device)], 1),
        mask[:, None].to(loaded.device),
        torch.cat([prompts.positions, behind], 1),
    )
