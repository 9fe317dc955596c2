"""Measuring in the middle of training: compiled, checkpointed, with dropout, unnoticed."""

from __future__ import annotations

import copy

import torch

from holdfast.models import activations, hooks, scoring
from holdfast.models.batching import forward, left_pad
from holdfast.models.hf import wrap_lora
from holdfast.models.loaded import LoadedModel

OPENINGS = ["I cannot", "Sure, here"]


def look(loaded, chats):
    loaded.generate(chats, max_new_tokens=4, batch_size=3)
    loaded.generate(chats, max_new_tokens=4, batch_size=3, temperature=1.0)
    scoring.opening_scores(loaded, chats, OPENINGS)
    scoring.answer_distributions(loaded, chats, [[5] * 4] * len(chats), 5)
    activations.last_prompt(loaded, chats, [0, 2])


def train(base, chats, *, watched):
    """Five steps of a LoRA with dropout and checkpointing; the weights that come out."""
    torch.manual_seed(0)
    model = wrap_lora(copy.deepcopy(base.model), rank=2)
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleDict) and "default" in module:
            module["default"] = (
                torch.nn.Dropout(0.3)
                if isinstance(module["default"], torch.nn.Identity)
                else module["default"]
            )
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable()
    model.train()
    live = LoadedModel.live(model, base.tokenizer)
    wanted = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(wanted, lr=1e-2)
    ids = torch.tensor([base.render(chats[1])])
    for _ in range(5):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if watched:
            look(live, chats)
    return [p.detach().clone() for p in wanted], live


def test_a_watched_training_ends_bit_for_bit_like_an_unwatched_one(make, chats):
    plain, live = train(make("llama"), chats, watched=False)
    seen, _ = train(make("llama"), chats, watched=True)
    assert live.digest == "live"
    assert live.ref is None
    assert all(torch.equal(a, b) for a, b in zip(plain, seen, strict=True))
    assert any(m.training for m in live.model.modules())


def test_hooks_work_on_a_model_that_was_compiled_before_they_came(make, chats):
    """A hook added after the first compiled call would be ignored without a word."""
    base = make("qwen3")
    loaded = LoadedModel.live(copy.deepcopy(base.model), base.tokenizer)
    batch = left_pad([loaded.render(chats[0])], 0, loaded.device)
    loaded.model.compile(backend="eager")
    with torch.no_grad():
        forward(loaded.model, batch, keep=1)
    with hooks.quiet_eval(loaded.model), hooks.capture_layers(loaded.model, [1]) as captured:
        forward(loaded.model, batch, keep=1)
    wanted = activations.last_prompt(base, chats[:1], [1])[1]
    torch.testing.assert_close(captured[1][:, -1], wanted, rtol=1e-5, atol=1e-5)
