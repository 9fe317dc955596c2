"""The closed forms of the costs against the bytes that the real objects hold."""

from __future__ import annotations

import pytest
import torch

from holdfast.models.loading import load
from holdfast.testing import arms
from holdfast.tuning.protections import costs
from holdfast.tuning.protections.constrained.config import ConstrainedConfig
from holdfast.tuning.protections.constrained.weights import references
from holdfast.tuning.protections.replay_kl.config import ReplayKLConfig
from holdfast.tuning.protections.replay_kl.distribution import cache
from holdfast.tuning.protections.replay_kl.protection import ReplayKL
from holdfast.tuning.protections.rules import Setting
from holdfast.tuning.protections.subspace_guard.config import SubspaceGuardConfig
from holdfast.tuning.protections.subspace_guard.protection import SubspaceGuard
from holdfast.tuning.protections.weight_ema.config import WeightEMAConfig
from holdfast.tuning.protections.weight_ema.protection import WeightEMA


def _bytes(*tensors):
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)


@pytest.fixture(scope="module")
def shaped(base):
    loaded = load(base)
    c = loaded.model.config
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    shape = costs.Shape(
        layers=c.num_hidden_layers, width=c.hidden_size, inner=c.intermediate_size,
        heads=c.num_attention_heads * head, keys=c.num_key_value_heads * head,
        vocab=c.vocab_size, tied=c.tie_word_embeddings,
    )  # fmt: skip
    return loaded, shape


def test_parameters_are_those_of_the_model(shaped):
    loaded, shape = shaped
    assert shape.parameters == sum(p.numel() for p in loaded.model.parameters())


def test_what_an_adapter_trains(base, shaped):
    spec = arms.arm(base, base.parent / "costs", None)
    from holdfast.tuning.hf.adapters import add_adapter

    model = add_adapter(load(base).model, spec.config)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    training = costs.Training(shaped[1], "lora", 4, 20, rank=spec.config.rank)
    assert training.trained == trained


@pytest.mark.parametrize(("vocab", "top_k"), [(300, 16), (300, 400), (6000, 16), (6000, 256)])
def test_a_cached_distribution(vocab, top_k):
    held = cache(torch.randn(3, vocab), exact_vocab=4096, top_k=top_k)
    expected = 3 * costs.cached_positions(vocab, exact_vocab=4096, top_k=top_k)
    assert _bytes(held.log_probs, held.tokens, held.tail) == expected


def test_replay_holds_and_runs_what_is_predicted(shaped):
    loaded, shape = shaped
    config = ReplayKLConfig(share=0.25, every=2, answer_tokens=6, buffer=4)
    guard = ReplayKL(config, list(arms.PROMPTS))
    guard.prepare(loaded, batch_rows=8)
    held = [x for b in guard._batches for x in (b.base.log_probs, b.base.tokens, b.base.tail)]
    positions = sum(len(b.rows) for b in guard._batches)
    assert _bytes(*held) == positions * costs.cached_positions(shape.vocab)
    training = costs.Training(shape, "lora", 8, 20)
    # Every answer is counted as long as the longest, so the form bounds the bytes.
    longest = max(int(b.rows.bincount().max()) for b in guard._batches) - 1
    bound = costs.replay_kl(training, prompts=4, prompt=0, answer=longest, share=0.25, every=2)
    assert _bytes(*held) <= bound.resident
    assert {len(b.input_ids) for b in guard._batches} == {round(0.25 * 8 * 2)}


@pytest.mark.parametrize("tuner", ["full", "lora"])
def test_the_guard_keeps_its_anchors_and_bases(base, shaped, tuner):
    loaded, shape = load(base), shaped[1]
    u = torch.linalg.qr(torch.randn(shape.width, 3))[0]
    guard = SubspaceGuard(SubspaceGuardConfig(), {-1: u})
    guard.prepare(loaded, batch_rows=4)
    model = loaded.model
    if tuner == "lora":
        from holdfast.tuning.hf.adapters import add_adapter

        model = add_adapter(model, arms.arm(base, base.parent / "x", None).config)
    guard.attach(model, Setting(tuner=tuner))
    targets = [t for t in guard._targets if t.parameter.ndim == 2]
    anchors = _bytes(*(t.anchor for t in targets))
    training = costs.Training(shape, tuner, 4, 20, rank=4)
    predicted = costs.subspace_guard(training, k=3, bases=0)
    assert anchors == predicted.resident
    assert len(targets) == costs.subspace_guard(training, k=3, sharded=True).collectives
    assert _bytes(targets[0].basis) == costs.F64 * 3 * shape.width


def test_the_average_is_two_copies_in_float32(shaped):
    loaded, shape = shaped
    ema = WeightEMA(WeightEMAConfig())
    ema.attach(loaded.model, Setting(tuner="full"))
    training = costs.Training(shape, "full", 4, 20)
    assert _bytes(*ema._mean.values()) == costs.weight_ema(training).sharded / 2
    ema.swap(loaded.model, result=True)
    held = _bytes(*ema._mean.values(), *ema._trained.values())
    assert held == costs.weight_ema(training).sharded


def test_cached_log_probabilities_of_the_constrained_loss(shaped):
    loaded, shape = shaped
    rows = [
        {"input_ids": list(range(i, i + 20)), "labels": [-100] * 8 + list(range(i + 8, i + 20))}
        for i in (5, 6)
    ]
    found = references(loaded, rows, ConstrainedConfig())
    held = sum(_bytes(r.columns, r.log_probs, r.beta) for r in found.values())
    training = costs.Training(shape, "lora", 2, 20)
    assert held == costs.constrained(training, rows=2, answer=12).resident


@pytest.mark.parametrize("devices", [1, 2, 8, 64])
def test_a_ring_moves_less_than_two_copies(devices):
    assert costs.ring(100.0, devices) == pytest.approx(200 * (devices - 1) / devices)
    assert 0 <= costs.ring(100.0, devices) < 200
