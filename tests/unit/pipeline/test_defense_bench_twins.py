"""Twins remove exactly the norm that the method removes, and are random otherwise."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.pipeline.defenses.twins import (
    inside,
    matched_basis,
    norm,
    revert_matched,
    shrink,
)
from holdfast.tensors.projection import orthonormal


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000), width=st.integers(6, 24), inputs=st.integers(1, 30),
    rank=st.integers(1, 4), update_rank=st.integers(1, 8),
)  # fmt: skip
def test_a_matched_basis_has_the_rank_and_removes_the_norm(
    seed: int, width: int, inputs: int, rank: int, update_rank: int
) -> None:
    change = drawn(seed, width, update_rank) @ drawn(seed + 1, update_rank, inputs)
    like = orthonormal(drawn(seed + 2, rank, width))
    found = matched_basis(change, like, torch.Generator().manual_seed(seed + 3))
    assert found.shape == like.shape
    assert torch.allclose(found.T @ found, torch.eye(rank, dtype=torch.float64), atol=1e-8)
    assert inside(found, change) == pytest.approx(inside(like, change), abs=2e-6 * norm([change]))


@pytest.mark.parametrize("which", ["strongest", "weakest"])
def test_the_extremes_are_reached(which: str) -> None:
    """What only the top, or only the bottom, directions remove has a twin too."""
    change = drawn(0, 12, 3) @ drawn(1, 3, 20)
    left = torch.linalg.svd(change)[0]
    like = left[:, :2] if which == "strongest" else left[:, -2:]
    found = matched_basis(change, like, torch.Generator().manual_seed(5))
    assert inside(found, change) == pytest.approx(inside(like, change), abs=2e-6 * norm([change]))


def test_two_draws_differ_and_neither_is_the_subspace_itself() -> None:
    change, like = drawn(0, 32, 40), orthonormal(drawn(1, 3, 32))
    one, two = (matched_basis(change, like, torch.Generator().manual_seed(s)) for s in (7, 8))
    assert float((one.T @ two).norm()) < 1.5
    assert float((one.T @ like).norm()) < 1.5


def test_a_zero_change_gets_any_random_basis() -> None:
    found = matched_basis(
        torch.zeros(8, 5), orthonormal(drawn(1, 2, 8)), torch.Generator().manual_seed(0)
    )
    assert torch.allclose(found.T @ found, torch.eye(2, dtype=torch.float64), atol=1e-10)


@given(st.floats(0.1, 100), st.floats(0, 1))
def test_shrinkage_removes_exactly_that_norm(total: float, part: float) -> None:
    change = torch.full((2, 2), total / 2, dtype=torch.float64)
    scale = shrink(total, part * total)
    assert norm([(1 - scale) * change]) == pytest.approx(part * total, abs=1e-9 * total)


def test_nothing_is_shrunk_below_zero() -> None:
    assert shrink(1.0, 3.0) == 0.0
    assert shrink(0.0, 0.0) == 1.0


@given(
    st.lists(st.floats(0.1, 10), min_size=2, max_size=6), st.floats(0, 1), st.randoms()
)  # fmt: skip
def test_reverted_blocks_lose_exactly_the_norm(sizes: list[float], part: float, rng) -> None:  # type: ignore[no-untyped-def]
    blocks = dict(enumerate(sizes))
    order = list(blocks)
    rng.shuffle(order)
    removed = part * sum(size**2 for size in sizes) ** 0.5
    kept = revert_matched(blocks, order, removed)
    lost = sum(((1 - share) * blocks[block]) ** 2 for block, share in kept.items()) ** 0.5
    assert lost == pytest.approx(removed, rel=1e-6, abs=1e-9)
    assert list(kept) == order[: len(kept)]
