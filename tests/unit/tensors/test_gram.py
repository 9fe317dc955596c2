"""Interference of planted overlaps, and the grouped product against the plain one."""

import math

import pytest
import torch

from holdfast.tensors.gram import feature_gram, interference


def test_a_planted_overlap_is_its_cosine_squared() -> None:
    theta = math.radians(40)
    f = torch.tensor([[3.0, 0, 0], [math.cos(theta), math.sin(theta), 0], [0, 0, 5.0]]).double()
    gram = f @ f.mT
    assert float(interference(gram, [0])) == pytest.approx(math.cos(theta) ** 2)
    assert float(interference(gram, [2])) == pytest.approx(0.0)
    assert float(interference(gram, [0, 2])) == pytest.approx(math.cos(theta) ** 2 / 2)


def test_random_directions_expect_others_over_d() -> None:
    d, n = 50, 6
    f = torch.randn(400, n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = interference(f @ f.mT, range(n))
    assert float(values.mean()) == pytest.approx((n - 1) / d, rel=0.03)


def test_length_does_not_matter_and_zero_interferes_with_nothing() -> None:
    f = torch.randn(4, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scaled = f * torch.tensor([[1.0], [7.0], [0.01], [100.0]])
    torch.testing.assert_close(
        interference(f @ f.mT, [0, 1]), interference(scaled @ scaled.mT, [0, 1])
    )
    assert float(interference(torch.zeros(3, 3).double(), [0])) == 0.0


def test_grouped_products_equal_the_plain_ones() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    left, right = torch.randn(2, 3, 12, generator=generator, dtype=torch.float64)
    groups = [torch.tensor([0, 3, 4]), torch.tensor([1, 2, 5, 6, 7]), torch.tensor([8, 9, 10, 11])]
    found = feature_gram(x @ x.mT, left, right, groups)
    for r in range(3):
        a = torch.stack([left[r, g] @ x[g] for g in groups])
        b = torch.stack([right[r, g] @ x[g] for g in groups])
        torch.testing.assert_close(found[r], a @ b.mT)
