"""End tokens, foreign generation settings, sampling, limits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig

from holdfast.core.errors import DataError, UsageError
from holdfast.models.batching import by_length, left_pad
from holdfast.models.generation import InverseSampler
from holdfast.models.loaded import LoadedModel


def test_settings_of_the_models_own_file_do_not_reach_the_answer(make, chats):
    loaded = make("qwen2")
    plain = loaded.generate(chats, max_new_tokens=10, batch_size=4)
    kept = loaded.model.generation_config
    loaded.model.generation_config = GenerationConfig(
        do_sample=True, temperature=5.0, top_p=0.5, top_k=1, repetition_penalty=9.0,
        no_repeat_ngram_size=1, min_new_tokens=9, num_beams=3, max_length=3,
        suppress_tokens=list(range(20, 200)), eos_token_id=2,
    )  # fmt: skip
    hostile = loaded.model.generation_config
    try:
        assert loaded.generate(chats, max_new_tokens=10, batch_size=4) == plain
        assert loaded.model.generation_config is hostile
    finally:
        loaded.model.generation_config = kept


def test_every_end_token_of_the_list_ends_the_answer(make, chats):
    """The first token of an answer, named as a second end token, leaves that answer empty."""
    base = make("llama")
    ids = base.render(chats[1])
    with torch.no_grad():
        first = int(base.model(torch.tensor([ids])).logits[0, -1].argmax())
    kept = base.model.generation_config.eos_token_id
    base.model.generation_config.eos_token_id = [kept, first]
    try:
        loaded = LoadedModel(base.model, base.tokenizer, "live")
        assert loaded.end_tokens == {kept, first}
        answers = loaded.generate(chats, max_new_tokens=10, batch_size=32)
        assert answers[1] == ""
        assert any(answers)
    finally:
        base.model.generation_config.eos_token_id = kept


def test_a_prompt_too_long_is_named(make, chats):
    loaded = make("llama")
    long = [{"role": "user", "content": "net " * 300}]
    with pytest.raises(DataError, match=r"prompt 2 is too long.*got \d+ tokens.*at most 246"):
        loaded.generate([*chats[:2], long], max_new_tokens=10, batch_size=4)


def test_the_longest_prompt_that_fits_is_answered(make):
    loaded = make("gpt2")
    empty = len(loaded.render([{"role": "user", "content": ""}]))
    text = "\x01" * (loaded.max_context - 5 - empty)  # one token per byte
    assert len(loaded.render([{"role": "user", "content": text}])) == loaded.max_context - 5
    loaded.generate([[{"role": "user", "content": text}]], max_new_tokens=5, batch_size=1)


@pytest.mark.parametrize("bad", [{"max_new_tokens": 0}, {"temperature": -1.0}])
def test_senseless_settings_are_refused(make, chats, bad):
    with pytest.raises(UsageError, match="max_new_tokens >= 1"):
        make("llama").generate(chats, **{"max_new_tokens": 2, "batch_size": 2, **bad})


def test_no_conversations_no_answers(make):
    assert make("llama").generate([], max_new_tokens=2, batch_size=2) == []


def test_repeated_conversations_are_sampled_independently(make, chats):
    answers = make("llama").generate(
        [chats[1]] * 6, max_new_tokens=12, batch_size=4, temperature=1.0
    )
    assert len(set(answers)) == 6
    fewer = make("llama").generate([chats[1]] * 3, max_new_tokens=12, batch_size=1, temperature=1.0)
    assert fewer == answers[:3]


def test_inverse_sampling_draws_from_the_tempered_softmax():
    """At uniforms on a fine grid the token counts are the probabilities themselves."""
    logits, n = torch.tensor([0.0, 2.0, -torch.inf, 1.0, -3.0]), 100_000
    grid = ((torch.arange(n, dtype=torch.float64) + 0.5) / n)[:, None]
    scores = InverseSampler(grid, 2.0)(torch.empty(n, 0), logits.expand(n, -1))
    frequencies = torch.bincount(scores.argmax(-1), minlength=5) / n
    torch.testing.assert_close(frequencies, (logits / 2).softmax(-1), atol=2e-5, rtol=0)
    assert frequencies[2] == 0


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 4))
@settings(deadline=None, max_examples=50)
def test_a_certain_token_is_always_drawn(u, token):
    logits = torch.full((1, 5), -torch.inf)
    logits[0, token] = 0.0
    scores = InverseSampler(torch.tensor([[u]], dtype=torch.float64), 1.0)(
        torch.empty(1, 0), logits
    )
    assert int(scores.argmax()) == token


def test_low_temperature_is_nearly_greedy(make, chats):
    loaded = make("llama")
    cold = loaded.generate(chats, max_new_tokens=8, batch_size=8, temperature=1e-4)
    assert cold == loaded.generate(chats, max_new_tokens=8, batch_size=8)


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 9))
@settings(deadline=None)
def test_groups_hold_every_row_once_longest_first(lengths, size):
    groups = list(by_length(lengths, size))
    flat = [i for group in groups for i in group]
    assert sorted(flat) == list(range(len(lengths)))
    assert all(len(group) <= size for group in groups)
    assert [lengths[i] for i in flat] == sorted(lengths, reverse=True)


def test_left_padding_positions_start_at_the_first_token():
    batch = left_pad([[5, 6, 7], [8]], 0, torch.device("cpu"))
    assert batch.ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert batch.mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert batch.positions.tolist() == [[0, 1, 2], [0, 0, 0]]
