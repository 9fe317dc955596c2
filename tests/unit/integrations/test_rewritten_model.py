"""A model rewritten as Unsloth does it on a GPU: tuples, bypassed modules, blocks called twice.

Unsloth's own rewriting needs a GPU; here the same three properties are put into a plain Llama.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from holdfast.core.errors import UsageError
from holdfast.integrations.unsloth import check
from holdfast.models.architecture import decoder_layers
from holdfast.models.hooks import capture_layers
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.testing import arms
from holdfast.tuning.callback import HoldfastCallback
from holdfast.tuning.hf.adapters import add_adapter
from holdfast.tuning.protections.base import Materials
from holdfast.tuning.protections.registry import config_of
from holdfast.tuning.protections.rules import Setting
from holdfast.tuning.protections.stack import make


def linear(module: Any, x: torch.Tensor) -> torch.Tensor:
    """A linear layer, adapted or not, computed without being called."""
    base = getattr(module, "base_layer", module)
    y = functional.linear(x, base.weight, base.bias)
    if base is module:
        return y
    a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
    return y + module.scaling["default"] * functional.linear(functional.linear(x, a), b)


class Rewritten(LlamaDecoderLayer):
    """Hooks on a block see a tuple; hooks inside it never fire."""

    reentrant = False

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> Any:
        attended, _ = self.self_attn.forward(
            hidden_states=self.input_layernorm.forward(hidden_states), **kwargs
        )
        hidden_states = hidden_states + attended
        x = self.post_attention_layernorm.forward(hidden_states)
        gate = functional.silu(linear(self.mlp.gate_proj, x))
        return (hidden_states + linear(self.mlp.down_proj, gate * linear(self.mlp.up_proj, x)),)

    def __call__(self, hidden_states: torch.Tensor, **kwargs: Any) -> Any:
        def block(x: torch.Tensor) -> torch.Tensor:
            return super(Rewritten, self).__call__(x, **kwargs)[0]

        if self.reentrant and torch.is_grad_enabled():
            kwargs["past_key_values"] = None  # a cache would take every token in twice
            return checkpoint(block, hidden_states, use_reentrant=True)
        return block(hidden_states)


def rewritten(base, *, reentrant: bool) -> tuple[LoadedModel, Any]:
    """The base, and a model with an adapter whose blocks are rewritten."""
    loaded = load(base)
    for block in decoder_layers(loaded.model):
        block.__class__ = type("Block", (Rewritten,), {"reentrant": reentrant})
    loaded.model.enable_input_require_grads()
    torch.manual_seed(0)
    model = add_adapter(loaded.model, arms.arm(base, base, None, dropout=0.0).config)
    return LoadedModel.live(model, loaded.tokenizer), model


def trained(base, *, reentrant: bool) -> tuple[Any, list[torch.Tensor], int]:
    """Three guarded steps; the protection, the weights, and how often a bypassed module was called.

    Steering acts on blocks, replay-KL on logits, the guard on weights.
    """
    live, model = rewritten(base, reentrant=reentrant)
    called = []
    writer = decoder_layers(model)[0].mlp.down_proj
    writer.register_forward_hook(lambda *_: called.append(1))
    names = ("steering", "replay_kl", "subspace_guard")
    options = {"replay_kl": {"share": 0.5, "every": 1, "answer_tokens": 4}}
    specs = [(name, config_of(name)(**options.get(name, {}))) for name in names]
    callback = HoldfastCallback(protection=make(specs, arms.materials(base)))
    callback.prepare(live, batch_rows=4)
    ledger = callback.ledger
    ledger.attach(model, Setting(tuner="lora"), resumed=None)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    ids = torch.randint(5, 250, (4, 12), generator=torch.Generator().manual_seed(1))
    model.train()
    for step in range(3):
        ledger.begin(model, step)
        model(input_ids=ids, labels=ids).loss.backward()
        ledger.before(model, step)
        optimizer.step()
        ledger.after(model, step)
        optimizer.zero_grad()
    ledger.finish(model)
    return callback, [p.detach().clone() for p in parameters], len(called)


def test_every_step_is_guarded_though_modules_are_bypassed(base):
    callback, _, called = trained(base, reentrant=False)
    assert called == 0
    assert all(r.guarded == r.due == 3 for r in callback.protection_reports())


def test_blocks_that_fire_twice_are_changed_alike_and_counted_once(base):
    once, weights, _ = trained(base, reentrant=False)
    twice, again, _ = trained(base, reentrant=True)
    for a, b in zip(weights, again, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    counts = [[r.guarded for r in c.protection_reports()] for c in (once, twice)]
    assert counts[0] == counts[1] == [3, 3, 3]


def test_a_block_really_fires_twice_and_returns_a_tuple(base):
    _, model = rewritten(base, reentrant=True)
    seen: list[tuple[type, bool]] = []
    block = decoder_layers(model)[0]
    block.register_forward_hook(lambda *x: seen.append((type(x[2]), torch.is_grad_enabled())))
    ids = torch.randint(5, 250, (2, 8))
    model.train()
    model(input_ids=ids, labels=ids).loss.backward()
    assert seen == [(tuple, False), (tuple, True)]
    with torch.no_grad(), capture_layers(model, [0, 1]) as captured:
        model(input_ids=ids)
    assert {tuple(x.shape) for x in captured.values()} == {(2, 8, block.hidden_size)}


def _callback(base) -> HoldfastCallback:
    materials = Materials(arms.PROMPTS)
    return HoldfastCallback(protection=make([("replay_kl", config_of("replay_kl")())], materials))


def test_the_check_accepts_what_works_and_refuses_missing_logits(base, monkeypatch):
    live, model = rewritten(base, reentrant=False)
    check(model, live.tokenizer, _callback(base))
    monkeypatch.setitem(sys.modules, "unsloth", SimpleNamespace(DEVICE_TYPE="cuda"))
    monkeypatch.delenv("UNSLOTH_RETURN_LOGITS", raising=False)
    with pytest.raises(UsageError, match="UNSLOTH_RETURN_LOGITS=1"):
        check(model, live.tokenizer, _callback(base))
    monkeypatch.setenv("UNSLOTH_RETURN_LOGITS", "1")
    check(model, live.tokenizer, _callback(base))
    empty = SimpleNamespace(logits=torch.empty(0))
    model.register_forward_hook(lambda *_: empty)
    with pytest.raises(UsageError, match="returns no logits"):
        check(model, live.tokenizer, _callback(base))


def test_a_block_that_is_no_longer_called_is_refused(base):
    live, model = rewritten(base, reentrant=False)
    block = decoder_layers(model)[1]
    type(block).__call__ = lambda self, x, **kwargs: self.forward(x, **kwargs)[0]
    with pytest.raises(UsageError, match="block 1 is not called"):
        check(model, live.tokenizer, _callback(base))
