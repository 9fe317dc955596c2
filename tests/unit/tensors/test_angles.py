"""Planted angles come back, from bases and from Gram matrices alike."""

import math

import pytest
import torch

from holdfast.tensors.angles import gram_angles, grassmann, overlap, principal_angles
from holdfast.tensors.projection import orthonormal, principal_subspace


def _random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _rotated(angles: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Bases [d, k] with exactly these principal angles."""
    k = len(angles)
    frame = orthonormal(_random(0, 2 * k + 3, 2 * k + 3))
    theta = torch.tensor(angles, dtype=torch.float64)
    a, b = frame[:, :k], frame[:, k : 2 * k]
    return a, a * theta.cos() + b * theta.sin()


@pytest.mark.parametrize("degrees", [[30.0], [30.0, 30.0], [0.0, 10.0, 60.0], [90.0, 90.0]])
def test_planted_angles_come_back(degrees: list[float]) -> None:
    a, b = _rotated([math.radians(value) for value in degrees])
    mix = _random(5, len(degrees), len(degrees))
    angles = principal_angles(a, orthonormal((b @ mix).mT))  # any basis of the same subspace
    assert angles.rad2deg().tolist() == pytest.approx(degrees, abs=1e-5)
    expected = math.sqrt(sum(d**2 for d in degrees)) / (math.sqrt(len(degrees)) * 90)
    assert float(grassmann(angles)) == pytest.approx(expected, abs=1e-6)
    cosines = [math.cos(math.radians(d)) ** 2 for d in degrees]
    assert float(overlap(angles)) == pytest.approx(sum(cosines) / len(cosines), abs=1e-6)


def test_distance_is_one_for_orthogonal_and_zero_for_the_same() -> None:
    a, b = _rotated([math.pi / 2] * 3)
    assert float(grassmann(principal_angles(a, b))) == pytest.approx(1.0)
    assert float(grassmann(principal_angles(a, -a))) < 1e-7


def test_gram_angles_are_those_of_the_subspaces() -> None:
    a, b = _random(1, 7, 5, 40), _random(2, 7, 5, 40)
    found = gram_angles(a @ a.mT, b @ b.mT, a @ b.mT, 3)
    for one, other, angles in zip(a, b, found, strict=True):
        plain = principal_angles(principal_subspace(one, k=3), principal_subspace(other, k=3))
        torch.testing.assert_close(angles, plain)


def test_random_subspaces_expect_k_over_d() -> None:
    k, d = 4, 64
    values = [
        float(overlap(principal_angles(*(orthonormal(x) for x in _random(seed, 2, k, d)))))
        for seed in range(200)
    ]
    assert sum(values) / len(values) == pytest.approx(k / d, rel=0.05)


def test_a_collapsed_subspace_gives_angles_not_nan() -> None:
    a, b = _random(1, 3, 10), torch.zeros(3, 10, dtype=torch.float64)
    assert torch.isfinite(gram_angles(a @ a.mT, b @ b.mT, a @ b.mT, 2)).all()
