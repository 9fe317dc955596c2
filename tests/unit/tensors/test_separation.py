"""d-prime and AUROC of samples whose answer is known."""

import math

import pytest
import torch

from holdfast.tensors.separation import auroc, d_prime


def test_d_prime_by_hand() -> None:
    x = torch.tensor([1.0, 3.0, 10.0, 14.0])
    yes = torch.tensor([False, False, True, True])
    # means 2 and 12, unbiased variances 2 and 8
    assert float(d_prime(x, yes, ~yes)) == pytest.approx(10 / math.sqrt(5))


def test_counts_are_repetitions() -> None:
    x, yes = torch.tensor([1.0, 3.0, 10.0, 14.0]), torch.tensor([0, 0, 1, 1])
    repeated = torch.tensor([1.0, 3.0, 3.0, 10.0, 14.0, 14.0, 14.0])
    mask = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    counts = torch.tensor([[1, 2, 1, 3]])
    found = d_prime(x, counts * yes, counts * (1 - yes))
    assert float(found) == pytest.approx(float(d_prime(repeated, mask, 1 - mask)))


def test_scale_free_and_bounded_without_spread() -> None:
    x, yes = torch.tensor([0.0, 1.0, 5.0, 7.0]), torch.tensor([False, False, True, True])
    assert float(d_prime(x * 1000, yes, ~yes)) == pytest.approx(float(d_prime(x, yes, ~yes)))
    assert float(d_prime(torch.tensor([0.0, 0, 1, 1]), yes, ~yes)) == pytest.approx(1e9)
    assert float(d_prime(torch.ones(4), yes, ~yes)) == 0.0


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [([2.0, 3.0], [0.0, 1.0], 1.0), ([0.0, 1.0], [2.0, 3.0], 0.0), ([1.0], [1.0], 0.5),
     ([1.0, 3.0], [2.0, 2.0], 0.5), ([1.0, 2.0, 3.0], [2.0], 0.5)],
)  # fmt: skip
def test_auroc_by_hand(positive: list[float], negative: list[float], expected: float) -> None:
    assert auroc(torch.tensor(positive), torch.tensor(negative)) == pytest.approx(expected)


def test_permuted_labels_give_one_half() -> None:
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.bfloat16)
    assert auroc(x[:10_000], x[10_000:]) == pytest.approx(0.5, abs=0.02)
