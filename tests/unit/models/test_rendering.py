"""Special tokens, system roles, missing templates."""

from __future__ import annotations

import pytest

from holdfast.core.errors import DataError
from holdfast.models import rendering
from holdfast.models.loading import load
from holdfast.testing import tiny

USER = {"role": "user", "content": "Hi"}
SYSTEM = {"role": "system", "content": "Be brief."}


def test_the_naive_way_doubles_the_bos_and_ours_does_not(make):
    tokenizer = make("llama").tokenizer
    text = tokenizer.apply_chat_template([USER], tokenize=False, add_generation_prompt=True)
    naive = tokenizer(text)["input_ids"]
    assert naive.count(tokenizer.bos_token_id) == 2
    assert rendering.render(tokenizer, [USER]) == naive[1:]


def test_a_template_that_writes_two_bos_is_cured(make):
    tokenizer = make("mistral").tokenizer
    kept = tokenizer.chat_template
    tokenizer.chat_template = "{{ bos_token }}" + kept
    try:
        assert rendering.render(tokenizer, [USER]).count(tokenizer.bos_token_id) == 1
    finally:
        tokenizer.chat_template = kept


def test_a_system_message_is_folded_where_the_template_has_no_place_for_it(make):
    tokenizer = make("gemma2").tokenizer
    text = tokenizer.decode(rendering.render(tokenizer, [SYSTEM, USER]))
    assert "Be brief.\n\nHi" in text
    assert rendering.render(tokenizer, [SYSTEM, USER]) == rendering.render(
        tokenizer, [{"role": "user", "content": "Be brief.\n\nHi"}]
    )


def test_a_system_message_stays_where_the_template_has_a_place(make):
    tokenizer = make("llama").tokenizer
    assert "<|system|>Be brief." in tokenizer.decode(rendering.render(tokenizer, [SYSTEM, USER]))


def test_what_the_template_refuses_is_a_data_error(make):
    with pytest.raises(DataError, match="template refuses .* System role not supported"):
        make("gemma2").render([SYSTEM])
    with pytest.raises(DataError, match="no messages"):
        make("llama").render([])


def test_without_a_template_there_are_plain_lines_and_the_ref_says_so(tmp_path):
    loaded = load(tiny.build(tmp_path / "plain", "llama", chat_template=False))
    ids = loaded.render([SYSTEM, USER])
    assert ids.count(loaded.tokenizer.bos_token_id) == 1
    text = loaded.tokenizer.decode(ids, skip_special_tokens=True)
    assert text == "System: Be brief.\nUser: Hi\nAssistant:"
    assert loaded.ref is not None
    assert loaded.ref.environment["chat_template"] == rendering.FALLBACK


@pytest.mark.parametrize(
    ("name", "token"),
    [("qwen2", "<|im_end|>"), ("gemma2", "<end_of_turn>"), ("llama", "</s>"), ("mistral", "</s>")],
)
def test_the_templates_own_end_of_turn_ends_an_answer(make, name, token):
    loaded = make(name)
    assert loaded.tokenizer.decode(list(rendering.turn_ends(loaded.tokenizer))) == token
    eos = loaded.tokenizer.eos_token_id
    assert loaded.end_tokens == {eos, loaded.tokenizer.convert_tokens_to_ids(token)}


def test_text_behind_an_answer_is_no_end_of_turn(make):
    tokenizer = make("phi3").tokenizer
    kept = tokenizer.chat_template
    try:
        tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
        assert rendering.turn_ends(tokenizer) == frozenset()
        tokenizer.chat_template = "{{ raise_exception('no') }}"
        assert rendering.turn_ends(tokenizer) == frozenset()
        tokenizer.chat_template = None
        assert rendering.turn_ends(tokenizer) == frozenset()
    finally:
        tokenizer.chat_template = kept


def test_an_answer_gets_no_special_tokens(make):
    loaded = make("llama")
    assert loaded.tokenizer.bos_token_id not in loaded.encode_answer("Sure")
    assert loaded.encode_answer("") == []
