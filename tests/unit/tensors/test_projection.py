"""Projections have closed forms: idempotent, scale-free, exact splits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import InvalidRun
from holdfast.tensors.projection import (
    orthonormal,
    principal_subspace,
    project_off,
    project_on,
    projector,
    unit,
)


def _random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 4), scale=st.floats(1e-3, 1e3))
def test_projector_is_idempotent_and_scale_free(seed: int, n: int, scale: float) -> None:
    vectors = _random(seed, 9, n)
    p = projector(vectors)
    torch.testing.assert_close(p @ p, p)
    torch.testing.assert_close(p, p.mT)
    torch.testing.assert_close(projector(vectors * scale), p)
    assert float(p.trace()) == pytest.approx(n)


def test_the_published_trap_is_not_a_projector() -> None:
    v = _random(0, 9, 2)
    trap = v @ v.mT / v.norm()
    assert (trap @ trap - trap).norm() > 0.1
    assert (projector(v) - trap).norm() > 0.1


def test_on_and_off_split_exactly() -> None:
    x, basis = _random(1, 5, 9), orthonormal(_random(2, 3, 9))
    torch.testing.assert_close(project_on(x, basis) + project_off(x, basis), x)
    assert (project_off(x, basis) @ basis).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_inputs_are_computed_in_float64(dtype: torch.dtype) -> None:
    directions = _random(3, 4, 16).to(dtype)
    subspace = principal_subspace(directions, k=3)
    assert subspace.dtype == torch.float64
    torch.testing.assert_close(subspace.mT @ subspace, torch.eye(3, dtype=torch.float64))
    assert unit(directions).norm(dim=-1).sub(1).abs().max() < 1e-14


@pytest.mark.parametrize(("energy", "k"), [(0.5, 1), (0.64, 1), (0.65, 2), (0.99, 2), (1.0, 3)])
def test_k_is_the_smallest_that_holds_the_energy(energy: float, k: int) -> None:
    # squared singular values 64, 35, 1
    directions = torch.diag(torch.tensor([8.0, math.sqrt(35), 1.0], dtype=torch.float64))
    assert principal_subspace(directions, energy=energy).shape == (3, k)


def test_no_subspace_of_nothing_and_none_beyond_the_rank() -> None:
    with pytest.raises(InvalidRun, match="zero"):
        principal_subspace(torch.zeros(3, 5))
    with pytest.raises(InvalidRun, match="k = 3"):
        principal_subspace(torch.ones(3, 5), k=3)
    assert orthonormal(torch.ones(3, 5)).shape == (5, 1)
    assert unit(torch.zeros(4)).tolist() == [0.0] * 4
