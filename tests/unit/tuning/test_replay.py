from __future__ import annotations

import pytest
import torch

from holdfast.core.errors import DataError, InvalidRun
from holdfast.tuning.hf.adapters import add_adapter
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.tuning.protections.base import Protection
from holdfast.tuning.protections.registry import PROTECTIONS
from holdfast.tuning.protections.replay_kl.config import LARGEST, ReplayKLConfig
from holdfast.tuning.protections.replay_kl.protection import ReplayKL

from .conftest import PROMPTS


def _lora(model):
    return add_adapter(model, SFTConfig(rank=4, alpha=8, dropout=0.5)).train()


@pytest.mark.parametrize("settings", [{}, {"exact_vocab": 8, "top_k": 8}], ids=["exact", "top-k"])
def test_at_step_zero_loss_and_gradient_are_exactly_zero_even_with_dropout(loaded, settings):
    replay = ReplayKL(ReplayKLConfig(answer_tokens=6, **settings), PROMPTS)
    replay.prepare(loaded, batch_rows=40)
    model = _lora(loaded.model)
    for step in range(6):
        assert replay.act(model, step) == 0.0
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(g is not None and not g.any() for g in gradients)


def test_away_from_the_base_it_pulls_back(loaded, replay):
    replay.prepare(loaded, batch_rows=8)
    model = _lora(loaded.model)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.3)
    before = [replay.act(model, step) for step in range(3)]
    assert min(before) > 0.01
    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                p -= 0.02 * p.grad / p.grad.norm()
    assert sum(replay.act(model, step) for step in range(3)) < sum(before)


def test_it_draws_no_chance_and_restores_every_flag(loaded, replay):
    replay.prepare(loaded, batch_rows=8)
    model = _lora(loaded.model)
    next(iter(model.modules())).train()
    model.base_model.model.model.layers[0].eval()
    flags = [m.training for m in model.modules()]
    state = torch.get_rng_state()
    replay.act(model, 0)
    assert torch.equal(state, torch.get_rng_state())
    assert flags == [m.training for m in model.modules()]


def test_the_gradient_adds_to_what_is_there_and_scales_with_its_weight(loaded):
    sums = []
    for weight, start in ((1.0, 0.0), (3.0, 0.0), (1.0, 5.0)):
        replay = ReplayKL(ReplayKLConfig(weight=weight, answer_tokens=4), PROMPTS)
        replay.prepare(loaded, batch_rows=20)
        tied = loaded.model.get_input_embeddings().weight
        with torch.no_grad():
            saved = tied.clone()
            tied.mul_(1.05)
        tied.grad = torch.full_like(tied, start)
        replay.act(loaded.model, 0)
        sums.append(tied.grad.clone() - start)
        loaded.model.zero_grad()
        with torch.no_grad():
            tied.copy_(saved)
    assert sums[0].abs().max() > 0
    assert torch.allclose(sums[1], 3 * sums[0], rtol=1e-4, atol=1e-6)
    assert torch.allclose(sums[2], sums[0], atol=1e-5)


def test_each_cycle_goes_through_the_whole_buffer_in_its_own_order(loaded):
    replay = ReplayKL(ReplayKLConfig(every=2, share=0.05, answer_tokens=4), PROMPTS)
    replay.prepare(loaded, batch_rows=10)  # one row per replay
    orders = [[id(replay._batch_of(2 * (6 * c + i))) for i in range(6)] for c in range(4)]
    assert all(len(set(order)) == 6 for order in orders)
    assert len({tuple(order) for order in orders}) > 1
    assert [replay.due(step) for step in range(4)] == [True, False, True, False]


@pytest.mark.parametrize(
    ("steps", "given", "kept"), [(0, 20, 3), (3, 20, 3), (8, 20, 8), (8, 5, 5), (10_000, 20, 20)]
)
def test_a_long_run_replays_more_prompts_each_about_twice(loaded, steps, given, kept):
    """Two rows an update: 16 rows of 8 updates are eight prompts twice."""
    prompts = [[{"role": "user", "content": f"Break lamp {i}"}] for i in range(given)]
    replay = ReplayKL(ReplayKLConfig(buffer=3, share=0.5, answer_tokens=2), prompts)
    replay.prepare(loaded, batch_rows=4, steps=steps)
    assert sum(len(batch.input_ids) for batch in replay._batches) == kept


def test_a_run_takes_so_many_prompts_of_its_own_accord_and_no_more():
    many = [[{"role": "user", "content": str(i)}] for i in range(LARGEST + 50)]
    assert len(ReplayKL(ReplayKLConfig(), many).prompts) == LARGEST
    assert len(ReplayKL(ReplayKLConfig(buffer=LARGEST + 20), many).prompts) == LARGEST + 20


def test_a_diverged_model_is_an_invalid_run(loaded, replay):
    replay.prepare(loaded, batch_rows=8)
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(InvalidRun, match="not a number"):
        replay.act(loaded.model, 0)


def test_an_empty_buffer_is_refused_and_the_registry_knows_it():
    with pytest.raises(DataError, match="buffer is empty"):
        ReplayKL(ReplayKLConfig(), [])
    made: Protection = PROTECTIONS.load("replay_kl")(ReplayKLConfig(buffer=2), PROMPTS)
    assert made.settings()["buffer"] == 2
    assert not made.prepared
