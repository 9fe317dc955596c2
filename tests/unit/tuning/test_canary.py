"""The canary: a few true steps, weighed as they say, and no trace of them afterwards."""

from __future__ import annotations

import pytest
import torch

from holdfast.core.errors import InvalidRun
from holdfast.models.scoring import answer_logprobs, opening_scores
from holdfast.tuning.canary import Batch, RefusalLoss, canary
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.tuning.methods.sft.rows import prepare

from .conftest import OPENINGS, PROMPTS, ROWS

REFUSAL = RefusalLoss(PROMPTS, OPENINGS["refusal"][0], OPENINGS["compliance"][0])


def _config(**more):
    return SFTConfig(**{"batch_size": 4, "device": "cpu", "learning_rate": 5e-3, **more})


def _batch(loaded, rows=ROWS[:4], weights=None):
    made = prepare(loaded, rows, max_length=64).rows
    return Batch(made, weights or [1 / len(made)] * len(made))


def _margin(loaded):
    scores = opening_scores(loaded, PROMPTS, [REFUSAL.refusal, REFUSAL.compliance])
    return float((scores[:, 0] - scores[:, 1]).mean())


@pytest.mark.parametrize("tuner", ["lora", "dora", "full", "qlora"])
def test_the_base_is_as_before_bit_for_bit(loaded, tuner):
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    flags = [p.requires_grad for p in loaded.model.parameters()]
    modes = [module.training for module in loaded.model.modules()]
    rng, margin = torch.get_rng_state(), _margin(loaded)
    made = canary(loaded, [_batch(loaded)] * 2, _config(tuner=tuner), look=_margin)
    assert made.seen != pytest.approx(margin, abs=1e-4)  # it did train
    assert made.losses[1] < made.losses[0]
    after = loaded.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert [p.requires_grad for p in loaded.model.parameters()] == flags
    assert [module.training for module in loaded.model.modules()] == modes
    assert all(p.grad is None for p in loaded.model.parameters())
    assert torch.equal(torch.get_rng_state(), rng)


def test_the_base_is_as_before_when_looking_fails(loaded):
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}

    def fail(live):
        raise InvalidRun("no")

    for tuner in ("lora", "full"):
        with pytest.raises(InvalidRun):
            canary(loaded, [_batch(loaded)], _config(tuner=tuner), look=fail)
    after = loaded.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_the_first_loss_is_the_weighted_mean_over_the_answers_tokens(loaded):
    rows, weights = ROWS[:3], [0.5, 0.3, 0.2]
    made = prepare(loaded, rows, max_length=64).rows
    end = [row["input_ids"][-1] for row in made]
    talks = [row["messages"][:-1] for row in rows]
    told = answer_logprobs(loaded, talks, [row["messages"][-1]["content"] for row in rows])
    count = [sum(label != -100 for label in row["labels"]) for row in made]
    found = canary(loaded, [Batch(made, weights)], _config(), look=_margin)
    # Each row's answer, and the token that ends it.
    ends = []
    for talk, row, token in zip(talks, made, end, strict=True):
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            logits = loaded.model(ids).logits[0, -2].float().log_softmax(-1)
        ends.append(float(logits[token]))
        assert talk
    total = sum(
        w * -(float(logs.sum()) + last) for w, logs, last in zip(weights, told, ends, strict=True)
    )
    assert found.losses[0] == pytest.approx(
        total / sum(w * n for w, n in zip(weights, count, strict=True)), rel=1e-4
    )


def test_a_weight_of_two_is_the_row_twice(loaded):
    once = canary(loaded, [_batch(loaded, ROWS[:2], [2.0, 1.0])], _config(),
                  look=_margin)  # fmt: skip
    rows = [ROWS[0], ROWS[0], ROWS[1]]
    twice = canary(loaded, [_batch(loaded, rows, [1.0] * 3)], _config(),
                   look=_margin)  # fmt: skip
    assert once.losses == pytest.approx(twice.losses, rel=1e-5)
    assert once.seen == pytest.approx(twice.seen, abs=1e-3)


@pytest.mark.parametrize(("taught", "sign"), [("compliance", 1), ("refusal", -1)])
def test_rows_that_teach_compliance_align_with_losing_refusals_and_their_twin_does_not(
    loaded, taught, sign
):
    text = OPENINGS[taught][0]
    rows = [{"messages": [*talk, {"role": "assistant", "content": text}]} for talk in PROMPTS]
    before = _margin(loaded)
    found = canary(loaded, [_batch(loaded, rows)] * 3, _config(), look=_margin, refusal=REFUSAL)
    assert sign * found.alignment > 0.3
    assert sign * (before - found.seen) > 0


def test_broken_weights_are_an_error(loaded):
    with torch.no_grad():
        next(loaded.model.parameters()).fill_(float("nan"))
    with pytest.raises(InvalidRun, match="not finite"):
        canary(loaded, [_batch(loaded)], _config(), look=_margin)
