"""The cached KL against autograd on its definition, and its exact zero."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.tuning.protections.replay_kl.distribution import cache, replay_loss


def _pair(seed: int, n: int, vocab: int, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    base = spread * torch.randn(n, vocab, generator=draw)
    return base, base + torch.randn(n, vocab, generator=draw)


def _gradient(logits, cached):
    logits = logits.clone().requires_grad_()
    value, scalar = replay_loss(logits, cached)
    scalar.backward()
    return value, logits.grad


@given(st.integers(0, 99), st.integers(1, 5), st.sampled_from([7, 50]), st.floats(0.1, 4))
@settings(max_examples=25, deadline=None)
def test_exact_form_is_the_kl_and_its_gradient(seed, n, vocab, spread):
    base, now = _pair(seed, n, vocab, spread)
    value, gradient = _gradient(now, cache(base, exact_vocab=100, top_k=3))
    wide = now.double().requires_grad_()
    p = base.double().log_softmax(-1)
    kl = (p.exp() * (p - wide.log_softmax(-1))).sum(-1).mean()
    kl.backward()
    assert value == pytest.approx(float(kl.detach()), rel=1e-4, abs=1e-6)
    assert torch.allclose(gradient.double(), wide.grad, atol=1e-6)


@given(st.integers(0, 99), st.integers(1, 5), st.integers(1, 20), st.floats(0.1, 4))
@settings(max_examples=25, deadline=None)
def test_top_k_form_is_the_bucketed_kl_its_gradient_and_a_lower_bound(seed, n, k, spread):
    base, now = _pair(seed, n, 50, spread)
    kept = cache(base, exact_vocab=10, top_k=k)
    value, gradient = _gradient(now, kept)
    wide = now.double().requires_grad_()
    p, q = base.double().softmax(-1), wide.softmax(-1)
    top = p.gather(-1, kept.tokens), q.gather(-1, kept.tokens)
    rest = 1 - top[0].sum(-1), 1 - top[1].sum(-1)
    kl = (top[0] * (top[0] / top[1]).log()).sum(-1) + rest[0] * (rest[0] / rest[1]).log()
    kl.mean().backward()
    full = (p * (p / q).log()).sum(-1).mean()
    assert value == pytest.approx(float(kl.mean().detach()), rel=1e-3, abs=1e-5)
    assert torch.allclose(gradient.double(), wide.grad, atol=1e-5)
    assert value <= float(full.detach()) + 1e-5


@pytest.mark.parametrize("exact_vocab", [10, 1000])
def test_at_the_base_loss_and_gradient_are_exactly_zero(exact_vocab):
    base, _ = _pair(0, 8, 300, 3.0)
    value, gradient = _gradient(base, cache(base, exact_vocab=exact_vocab, top_k=16))
    assert value == 0.0
    assert not gradient.any()


def test_a_tail_without_mass_stays_finite():
    base = torch.full((2, 40), -200.0)
    base[:, :4] = 5.0
    value, gradient = _gradient(base.flip(-1), cache(base, exact_vocab=10, top_k=4))
    assert value > 10
    assert torch.isfinite(gradient).all()
