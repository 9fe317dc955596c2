"""True projectors: P² = P, whatever the scale of V; and twins of equal size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.repair.methods.safe_lora.method import _below, _left, _only, _ratio, _shrunk
from holdfast.repair.projectors import (
    alignment_basis,
    off,
    onto,
    random_basis,
    top_directions,
)
from holdfast.repair.updates import open_update, oriented


def matrix(seed: int, rows: int = 12, columns: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    peaked = torch.logspace(0, -2, rows, dtype=torch.float64)[:, None]
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64) * peaked


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    energy=st.sampled_from([0.3, 0.5, 0.9, 1.0]),
    scale=st.floats(1e-6, 1e6),
)
def test_the_projector_is_one_and_ignores_the_scale_of_v(seed: int, energy: float, scale: float):
    v = matrix(seed)
    p = onto(top_directions(v, energy))
    assert torch.allclose(p @ p, p, atol=1e-10)
    assert torch.allclose(p, p.T, atol=1e-12)
    assert torch.allclose(onto(top_directions(v * scale, energy)), p, atol=1e-8)
    q = off(top_directions(v, energy))
    assert torch.allclose(p + q, torch.eye(12, dtype=p.dtype), atol=1e-12)
    assert torch.allclose(p @ q, torch.zeros_like(p), atol=1e-10)


def test_the_published_matrix_is_neither():
    v = matrix(0)
    c = v @ v.T / v.norm()
    assert not torch.allclose(c @ c, c, atol=1e-3)
    scaled = (10 * v) @ (10 * v).T / (10 * v).norm()
    assert not torch.allclose(scaled, c, atol=1e-3)


def test_a_low_rank_delta_gives_its_own_columns():
    u, _ = torch.linalg.qr(matrix(1)[:, :3])
    v = u @ torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)) @ matrix(2)[:3]
    assert torch.allclose(onto(top_directions(v, 1.0)), u @ u.T, atol=1e-8)
    assert top_directions(v, 1.0).shape == (12, 3)


def test_the_shrunk_twin_has_the_same_norms(base: Path, adapter: Path, full: Path):
    update = open_update(base, adapter)
    basis = alignment_basis(open_update(base, full), 0.5)
    left = _left(basis, "on")
    shrunk = _shrunk(update, left)
    for name in update.matrices():
        projected = (left(name) @ oriented(update, name).double()).norm()
        assert (shrunk(name) * oriented(update, name).double().norm()).item() == pytest.approx(
            projected.item()
        )


def test_the_random_twin_has_the_same_rank_and_other_directions(base: Path, full: Path):
    basis = alignment_basis(open_update(base, full), 0.5)
    twin = random_basis(basis, seed=3)
    name = open_update(base, full).matrices()[0]
    real, drawn = basis(name), twin(name)
    assert real is not None
    assert drawn is not None
    assert drawn.shape == real.shape
    assert torch.allclose(drawn.T @ drawn, torch.eye(drawn.shape[1], dtype=drawn.dtype))
    assert not torch.allclose(onto(drawn), onto(real), atol=1e-2)
    again = random_basis(basis, seed=3)(name)
    assert again is not None
    assert torch.equal(again, drawn)


def test_only_modules_far_from_alignment_are_projected(base: Path, adapter: Path, full: Path):
    update = open_update(base, adapter)
    left = _left(alignment_basis(open_update(base, full), 0.5), "on")
    ratios = {name: _ratio(update, name, left) for name in update.matrices()}
    middle = sorted(ratios.values())[len(ratios) // 2]
    chosen = _below(update, left, middle)
    twin = _only(chosen, lambda _: torch.eye(2))
    for name, ratio in ratios.items():
        assert isinstance(chosen(name), torch.Tensor) == (ratio <= middle)
        assert isinstance(twin(name), torch.Tensor) == (ratio <= middle)
