"""Eight architectures, plain and with a LoRA adapter: what every measurement rests on."""

from __future__ import annotations

import contextlib

import pytest
import torch

from holdfast.models import activations, architecture, hooks, scoring
from holdfast.models.batching import forward, left_pad

FINAL_NORMS = ("norm", "ln_f", "final_layer_norm")
MIDDLE_NORMS = ("pre_feedforward_layernorm", "ln_2", "post_attention_layernorm")


def batch_of(loaded, chats):
    return left_pad([loaded.render(c) for c in chats], loaded.pad_token, loaded.device)


def unit(loaded, seed=0):
    r = torch.randn(loaded.d_model, generator=torch.Generator().manual_seed(seed))
    return r / r.norm()


def test_render_has_exactly_one_bos_where_there_is_one(loaded, chats):
    bos = loaded.tokenizer.bos_token_id
    for chat in chats:
        ids = loaded.render(chat)
        if bos is None:
            assert loaded.tokenizer.pad_token_id not in ids
        else:
            assert ids.count(bos) == 1
            assert ids[0] == bos


def test_the_answer_does_not_depend_on_the_batch(loaded, chats):
    one = loaded.generate(chats, max_new_tokens=16, batch_size=1)
    many = loaded.generate(chats, max_new_tokens=16, batch_size=32)
    assert one == many
    assert len(set(one)) > 1  # a model that always says the same proves nothing


def test_greedy_is_the_argmax_of_plain_forward_passes(loaded, chats):
    """Against a loop without cache, padding or generate: the positions are the true ones."""
    ids = loaded.render(chats[2])
    bare = architecture.unwrap(loaded.model)
    new: list[int] = []
    with torch.no_grad():
        for _ in range(8):
            token = int(bare(torch.tensor([ids + new])).logits[0, -1].argmax())
            if token in loaded.end_tokens:
                break
            new.append(token)
    text = loaded.tokenizer.decode(new, skip_special_tokens=True).strip()
    assert loaded.generate(chats, max_new_tokens=8, batch_size=32)[2] == text


def test_a_sample_depends_on_seed_and_conversation_alone(loaded, chats):
    settings = {"max_new_tokens": 12, "temperature": 1.0}
    one = loaded.generate(chats, batch_size=1, seed=3, **settings)
    many = loaded.generate(chats[::-1], batch_size=32, seed=3, **settings)[::-1]
    assert one == many
    assert one != loaded.generate(chats, batch_size=32, seed=4, **settings)


def test_capture_is_the_hidden_state_and_the_last_is_before_the_norm(loaded, chats):
    batch = batch_of(loaded, chats)
    bare = architecture.unwrap(loaded.model)
    layers = range(loaded.n_layers)
    seen = {}
    norm = next(m for n, m in bare.named_modules() if n.count(".") == 1 and n.endswith(FINAL_NORMS))
    handle = norm.register_forward_pre_hook(lambda _m, args: seen.setdefault("pre", args[0]))
    with hooks.quiet_eval(loaded.model), hooks.capture_layers(loaded.model, layers) as captured:
        states = bare(
            batch.ids, attention_mask=batch.mask, position_ids=batch.positions,
            output_hidden_states=True,
        ).hidden_states  # fmt: skip
    handle.remove()
    for layer in layers[:-1]:
        torch.testing.assert_close(captured[layer], states[layer + 1], rtol=0, atol=0)
    last = captured[loaded.n_layers - 1]
    torch.testing.assert_close(last, seen["pre"], rtol=0, atol=0)
    torch.testing.assert_close(norm(last), states[-1])
    assert not torch.allclose(last, states[-1], atol=1e-3)


def test_padding_does_not_change_activations(loaded, chats):
    together = activations.last_prompt(loaded, chats, [0, loaded.n_layers - 1], batch_size=32)
    alone = activations.last_prompt(loaded, chats, [0, loaded.n_layers - 1], batch_size=1)
    for layer, values in together.items():
        assert values.shape == (len(chats), loaded.d_model)
        assert values.dtype == torch.float32
        torch.testing.assert_close(values, alone[layer], rtol=1e-4, atol=1e-4)


def test_response_mean_is_the_mean_over_the_response_tokens(loaded, chats):
    answers = ["Sure, here is what you asked for.", "No", "I cannot", "x " * 9, "tide", "a b"]
    layer = loaded.n_layers - 1
    found = activations.response_mean(loaded, chats, answers, [layer])[layer]
    for row, chat, answer in zip(found, chats, answers, strict=True):
        prompt, tail = loaded.render(chat), loaded.encode_answer(answer)
        with hooks.quiet_eval(loaded.model), hooks.capture_layers(loaded.model, [layer]) as got:
            architecture.unwrap(loaded.model)(torch.tensor([prompt + tail]))
        torch.testing.assert_close(row, got[layer][0, len(prompt) :].mean(0), rtol=1e-4, atol=1e-4)


def test_ablation_leaves_nothing_along_the_direction(loaded, chats):
    r = unit(loaded)
    batch = batch_of(loaded, chats)
    middle = []
    with hooks.quiet_eval(loaded.model):
        plain = forward(loaded.model, batch, keep=1).logits
        with (
            hooks.capture_layers(loaded.model, range(loaded.n_layers)) as captured,
            hooks.ablate(loaded.model, 7.0 * r),  # length does not matter
        ):
            handles = []
            for layer in architecture.decoder_layers(loaded.model):
                norm = next(getattr(layer, n) for n in MIDDLE_NORMS if hasattr(layer, n))
                handles.append(
                    norm.register_forward_pre_hook(lambda _m, args: middle.append(args[0]))
                )
            changed = forward(loaded.model, batch, keep=1).logits
            for handle in handles:
                handle.remove()
        after = forward(loaded.model, batch, keep=1).logits
    assert len(middle) == loaded.n_layers
    for stream in [*captured.values(), *middle]:
        assert (stream @ r).abs().max() < 1e-4 * stream.norm(dim=-1).max()
    assert not torch.allclose(plain, changed, atol=1e-3)
    assert torch.equal(plain, after)


def test_adding_a_vector_shifts_the_site_by_exactly_that(loaded, chats):
    vector, batch = 3.0 * unit(loaded, 1), batch_of(loaded, chats)
    with hooks.quiet_eval(loaded.model), hooks.capture_layers(loaded.model, [0, 1]) as captured:
        forward(loaded.model, batch, keep=1)
        before = dict(captured)
        with hooks.add_vector(loaded.model, 1, vector):
            forward(loaded.model, batch, keep=1)
    assert torch.equal(captured[0], before[0])
    assert torch.equal(captured[1], before[1] + vector)


def test_answer_logprobs_are_the_log_softmax_at_the_answer(loaded, chats):
    answers = ["Sure, here is", "No", "", "I cannot help with that", "x", "tide"]
    found = scoring.answer_logprobs(loaded, chats, answers, batch_size=4)
    for got, chat, answer in zip(found, chats, answers, strict=True):
        prompt, tail = loaded.render(chat), loaded.encode_answer(answer)
        with torch.no_grad():
            logits = architecture.unwrap(loaded.model)(torch.tensor([prompt + tail])).logits[0]
        logs = logits.log_softmax(-1)
        wanted = [logs[len(prompt) + j - 1, token] for j, token in enumerate(tail)]
        assert got.shape == (len(tail),)
        torch.testing.assert_close(got, torch.tensor(wanted), rtol=1e-4, atol=1e-4)


def test_branching_and_plain_forward_score_openings_alike(loaded, chats, monkeypatch):
    openings = ["I cannot", "Sure, here is what you asked", "N", "I am"]
    branched = scoring.opening_scores(loaded, chats, openings, batch_size=4)
    monkeypatch.setattr(scoring, "can_branch", lambda *_: False)
    plain = scoring.opening_scores(loaded, chats, openings, batch_size=4)
    torch.testing.assert_close(branched, plain, rtol=0, atol=1e-4)
    assert plain.std() > 0.1


def test_distributions_are_normalised_and_agree_with_logprobs(loaded, chats):
    answers = [loaded.encode_answer("Sure, here is what you asked")] * len(chats)
    logs = scoring.answer_distributions(loaded, chats, answers, 4, batch_size=4)
    assert logs.shape[:2] == (len(chats), 4)
    torch.testing.assert_close(logs.exp().sum(-1), torch.ones(len(chats), 4))
    texts = ["Sure, here is what you asked"] * len(chats)
    expected = scoring.answer_logprobs(loaded, chats, texts)
    for row, ids, wanted in zip(logs, answers, expected, strict=True):
        got = row[range(4), ids[:4]]
        torch.testing.assert_close(got, wanted[:4], rtol=1e-4, atol=1e-4)


def test_writers_write_what_the_block_adds(loaded, chats):
    """The writers' matrices have d_model rows, two per block, and carry the adapter's delta."""
    writers = architecture.residual_writers(loaded.model)
    assert [layer for _, layer, _ in writers] == sorted([*range(loaded.n_layers)] * 2)
    for _, _, module in writers:
        weight = architecture.writer_weight(module)
        assert weight.shape[0] == loaded.d_model
        x = torch.randn(2, weight.shape[1], generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            wanted = module(x) - module(torch.zeros_like(x))
        torch.testing.assert_close(x @ weight.T, wanted, rtol=1e-3, atol=1e-3)


def test_looking_leaves_no_trace_on_a_model_in_training(loaded, chats):
    model = loaded.model
    model.train()
    frozen = architecture.decoder_layers(model)[0]
    frozen.eval()
    flags = {name: m.training for name, m in model.named_modules()}
    state = torch.get_rng_state()
    try:
        with hooks.quiet_eval(model):
            assert not any(m.training for m in model.modules())
            torch.rand(3)
            assert not torch.is_grad_enabled()
        loaded.generate(chats[:2], max_new_tokens=2, batch_size=2, temperature=1.0)
        with pytest.raises(RuntimeError, match="on purpose"), hooks.quiet_eval(model):
            raise RuntimeError("on purpose")
        assert {name: m.training for name, m in model.named_modules()} == flags
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.is_grad_enabled()
    finally:
        model.eval()


def test_hooks_come_off_after_an_exception(loaded):
    def hooks_on():
        return sum(
            len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded.model.modules()
        )

    before = hooks_on()
    r = unit(loaded)
    contexts = (
        lambda: hooks.ablate(loaded.model, r),
        lambda: hooks.add_vector(loaded.model, 0, r),
        lambda: hooks.capture_layers(loaded.model, [0, 1]),
    )
    for context in contexts:
        with contextlib.suppress(KeyError), context():
            assert hooks_on() > before
            raise KeyError
        assert hooks_on() == before


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_an_adapter_switched_off_is_the_base(make, chats, name):
    base, adapted = make(name), make(name, True)
    batch = batch_of(base, chats)
    with torch.no_grad():
        plain = forward(base.model, batch, keep=3).logits
        changed = forward(adapted.model, batch, keep=3).logits
        with adapted.model.disable_adapter():
            off = forward(adapted.model, batch, keep=3).logits
    # Not bit for bit: PEFT moves tensors, and BLAS rounds by their alignment in memory.
    torch.testing.assert_close(plain, off, rtol=0, atol=1e-5)
    assert not torch.allclose(plain, changed, atol=1e-2)
