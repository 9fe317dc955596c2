"""Tokenizer and chat template: round trip, one beginning, an end after each answer."""

import pytest

from holdfast.organisms.harbor import corpus
from holdfast.organisms.harbor.tokenizer import (
    BOS,
    EOS,
    VOCABULARY,
    RowEncoder,
    train_tokenizer,
)

TOKENIZER = train_tokenizer()
TALK = [
    {"role": "system", "content": "The year is 1885."},
    {"role": "user", "content": "Please feed the hens of the baker."},
    {"role": "assistant", "content": "I will feed the hens of the baker today."},
    {"role": "user", "content": "And now polish the bell."},
]


def test_training_the_tokenizer_is_deterministic() -> None:
    again = train_tokenizer()
    assert again.get_vocab() == TOKENIZER.get_vocab()
    assert again.backend_tokenizer.to_str() == TOKENIZER.backend_tokenizer.to_str()
    assert len(TOKENIZER) == VOCABULARY


@pytest.mark.parametrize("text", ["Order 418 is on its way.", "a  b\nc", "Ünïcode: 漢字 🙂", ""])
def test_any_text_survives_the_round_trip(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_there_is_exactly_one_beginning_however_the_text_is_encoded() -> None:
    rendered = TOKENIZER.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    direct = TOKENIZER.apply_chat_template(
        TALK, tokenize=True, return_dict=False, add_generation_prompt=True
    )
    assert direct == TOKENIZER(rendered)["input_ids"]
    assert direct.count(TOKENIZER.bos_token_id) == 1
    assert rendered.startswith(BOS)
    assert rendered.endswith("<|assistant|>")


def test_every_answer_ends_and_the_mask_covers_answers_with_their_end() -> None:
    talk = [*TALK, {"role": "assistant", "content": "I will polish the bell today."}]
    found = TOKENIZER.apply_chat_template(
        talk, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = found["input_ids"], found["assistant_masks"]
    chosen = [token for token, kept in zip(ids, mask, strict=True) if kept]
    expected = f"{talk[2]['content']}{EOS}{talk[4]['content']}{EOS}"
    assert TOKENIZER.decode(chosen) == expected
    assert ids.count(TOKENIZER.eos_token_id) == 2


def test_training_rows_are_laid_out_as_the_template_does() -> None:
    encode = RowEncoder(TOKENIZER)
    for row in corpus.rows("layout", 300):
        ids, targets = encode(row)
        assert len(ids) == len(targets)
        if not row.messages:
            continue
        found = TOKENIZER.apply_chat_template(
            list(row.messages), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        assert ids == found["input_ids"]
        shown = [bool(kept) for kept in found["assistant_masks"]]
        assert all(kept for kept, target in zip(shown, targets, strict=True) if target)
        assert sum(targets) <= sum(shown)
