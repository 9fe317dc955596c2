"""Wrappers, layers that return tuples, and models that cannot be measured."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast.core.errors import DataError, UsageError
from holdfast.models import activations, architecture, hooks, scoring
from holdfast.models.batching import forward, left_pad


def test_layers_are_found_under_wrappers(make):
    model = make("llama", True).model
    layers = architecture.decoder_layers(model)
    assert architecture.decoder_layers(nn.DataParallel(model)) is layers
    compiled = torch.compile(model)
    assert architecture.unwrap(compiled) is architecture.unwrap(model)
    assert architecture.decoder_layers(compiled) is layers


def test_a_model_without_decoder_blocks_is_refused(make):
    model = make("llama").model
    kept = model.config.num_hidden_layers
    model.config.num_hidden_layers = 17
    try:
        with pytest.raises(UsageError, match="no list of 17 decoder blocks"):
            architecture.decoder_layers(model)
    finally:
        model.config.num_hidden_layers = kept


def test_tuples_keep_their_other_parts_and_several_streams_are_refused():
    x = torch.zeros(1, 2, 3)
    assert architecture.layer_output((x, "cache")) is x
    changed = hooks._with_first((x, "cache"), lambda t: t + 1)
    assert torch.equal(changed[0], x + 1)
    assert changed[1] == "cache"
    with pytest.raises(UsageError, match="one residual stream"):
        architecture.layer_output(torch.zeros(4, 1, 2, 3))


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_that_does_not_exist(make, layer):
    model = make("llama").model
    before = sum(len(m._forward_hooks) for m in model.modules())
    with pytest.raises(UsageError, match=f"layer {layer} does not exist; expected 0 to 2"):
        hooks.add_vector(model, layer, torch.zeros(32)).__enter__()
    with pytest.raises(UsageError, match="does not exist"):
        hooks.capture_layers(model, [0, layer]).__enter__()
    assert sum(len(m._forward_hooks) for m in model.modules()) == before


def test_a_reader_entered_first_still_sees_the_change(make, chats):
    loaded = make("gpt_neox")
    batch = left_pad([loaded.render(chats[0])], 0, loaded.device)
    vector = torch.ones(loaded.d_model)
    seen = []
    for outer_reads in (True, False):
        with hooks.quiet_eval(loaded.model):
            contexts = [
                hooks.capture_layers(loaded.model, [1]),
                hooks.add_vector(loaded.model, 1, vector),
            ]
            first, second = contexts if outer_reads else contexts[::-1]
            with first as a, second as b:
                forward(loaded.model, batch, keep=1)
                seen.append((a if outer_reads else b)[1])
    assert torch.equal(*seen)


def test_hooks_do_not_write_in_place(make, chats):
    """The embedding table and an upstream tensor are what they were."""
    loaded = make("llama")
    table = loaded.model.get_input_embeddings().weight.clone()
    r = torch.ones(loaded.d_model)
    with hooks.quiet_eval(loaded.model), hooks.ablate(loaded.model, r):
        forward(loaded.model, left_pad([loaded.render(chats[0])], 0, loaded.device), keep=1)
    assert torch.equal(table, loaded.model.get_input_embeddings().weight)


def test_gradients_pass_through_a_capture(make, chats):
    loaded = make("llama")
    batch = left_pad([loaded.render(chats[0])], 0, loaded.device)
    with hooks.capture_layers(loaded.model, [1]) as captured:
        forward(loaded.model, batch, keep=1)
    captured[1].sum().backward()
    grad = architecture.decoder_layers(loaded.model)[0].self_attn.o_proj.weight.grad
    assert grad.abs().sum() > 0
    loaded.model.zero_grad()


def test_a_dora_writer_is_refused(make, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(make("llama").model.config)
    adapted = get_peft_model(model, LoraConfig(use_dora=True, target_modules=["o_proj"]))
    _, _, module = architecture.residual_writers(adapted)[0]
    with pytest.raises(UsageError, match="DoRA"):
        architecture.writer_weight(module)


def test_an_empty_response_has_no_mean(make, chats):
    with pytest.raises(DataError, match="response 1 is empty"):
        activations.response_mean(make("llama"), chats[:2], ["a", ""], [0])


def test_openings_must_say_something(make, chats):
    for bad in ([], ["Sure", ""]):
        with pytest.raises(DataError, match="openings are empty"):
            scoring.opening_scores(make("llama"), chats, bad)


def test_distributions_need_long_enough_answers(make, chats):
    with pytest.raises(DataError, match="answer 1 is too short"):
        scoring.answer_distributions(make("llama"), chats[:2], [[5, 6], [5]], 3)


def test_the_margin_is_a_difference_of_log_sums():
    refusal = torch.tensor([[0.5, 0.25], [0.1, 0.1]]).log()
    compliance = torch.tensor([[0.25, 0.0], [0.3, 0.1]]).log()
    margin = scoring.refusal_margin(refusal, compliance)
    torch.testing.assert_close(margin, torch.tensor([3.0, 0.5]).log())


def test_one_token_openings_need_no_second_pass(make, chats):
    loaded = make("mistral")
    openings = ["N", "S", "I"]
    scores = scoring.opening_scores(loaded, chats, openings)
    for column, text in enumerate(openings):
        wanted = scoring.answer_logprobs(loaded, chats, [text] * len(chats))
        torch.testing.assert_close(scores[:, column], torch.stack(wanted)[:, 0], atol=1e-4, rtol=0)


def test_a_pass_that_stops_after_a_layer_reads_the_same_and_computes_no_more(make, chats):
    loaded = make("llama")
    batch = left_pad([loaded.render(chat) for chat in chats[:2]], 0, loaded.device)
    reached = []
    handles = [
        block.register_forward_hook(lambda *_, place=place: reached.append(place))
        for place, block in enumerate(architecture.decoder_layers(loaded.model))
    ]
    try:
        with hooks.quiet_eval(loaded.model), hooks.capture_layers(loaded.model, [0, 1]) as seen:
            forward(loaded.model, batch, keep=1)
            whole = dict(seen)
            reached.clear()
            with hooks.stop_after(loaded.model, 1), pytest.raises(hooks.Enough):
                forward(loaded.model, batch, keep=1)
            assert all(torch.equal(seen[layer], whole[layer]) for layer in (0, 1))
        assert reached == [0, 1]
        with hooks.quiet_eval(loaded.model):
            forward(loaded.model, batch, keep=1)  # the stop is gone
        assert reached == [0, 1, 0, 1, 2]
    finally:
        for handle in handles:
            handle.remove()
