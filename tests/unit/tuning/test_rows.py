from __future__ import annotations

import pytest

from holdfast.core.errors import DataError
from holdfast.models.loading import load
from holdfast.testing import tiny
from holdfast.tuning.methods.sft.rows import IGNORED, prepare

from .conftest import ROWS


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma2", "mistral"])
def test_prompt_is_rendered_as_in_evaluation_and_only_answer_and_end_are_learnt(
    tmp_path, architecture
):
    loaded = load(tiny.build(tmp_path / "m", architecture, layers=1))
    turns = [
        {"role": "user", "content": "Show me the lamp"},
        {"role": "assistant", "content": "Here it is."},
        {"role": "user", "content": "And the net?"},
        {"role": "assistant", "content": "The net is here."},
    ]
    (row,) = prepare(loaded, [{"messages": turns}], max_length=200).rows
    prompt, answer = loaded.render(turns[:3]), loaded.encode_answer("The net is here.")
    assert row["input_ids"][: len(prompt)] == prompt
    assert row["labels"][: len(prompt)] == [IGNORED] * len(prompt)
    learnt = row["labels"][len(prompt) :]
    assert learnt == row["input_ids"][len(prompt) :]
    assert learnt[: len(answer)] == answer
    text = loaded.tokenizer.decode(learnt[len(answer) :]).strip()
    ends = {"qwen2": "<|im_end|>", "gemma2": "<end_of_turn>"}
    # Where the template's turn end is no end token of the model, EOS must be learnt instead.
    assert text in ("</s>", ends.get(architecture))


def test_without_a_template_the_end_is_eos(tmp_path):
    loaded = load(tiny.build(tmp_path / "m", "gpt2", layers=1, chat_template=False))
    (row,) = prepare(loaded, ROWS[:1], max_length=200).rows
    assert row["labels"][-1] == loaded.tokenizer.eos_token_id


def test_long_rows_are_counted_and_never_cut_to_nothing(loaded):
    lengths = [len(row["input_ids"]) for row in prepare(loaded, ROWS, max_length=500).rows]
    prompt = len(loaded.render(ROWS[0]["messages"][:1]))
    cut = prepare(loaded, ROWS, max_length=max(lengths) - 2)
    assert cut.truncated == sum(n > max(lengths) - 1 for n in lengths)
    assert cut.dropped == 0
    with pytest.raises(DataError, match="row 1 has no trainable token"):
        prepare(loaded, ROWS, max_length=prompt - 3)
    with pytest.raises(DataError, match="no training row"):
        prepare(loaded, ROWS, max_length=prompt - 3, unusable="drop")
    mixed = [
        {"messages": [*ROWS[0]["messages"][:1], {"role": "assistant", "content": ""}]},
        ROWS[1],
    ]
    assert prepare(loaded, mixed, max_length=500, unusable="drop").dropped == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "empty"),
        ([{"text": "x"}], "row 1 has no conversation"),
        ([ROWS[0], {"messages": ROWS[0]["messages"][:1]}], "row 2 has no conversation"),
        ([{"messages": ROWS[0]["messages"][::-1]}], "does not end with an assistant"),
        ([{"messages": [{"role": "user"}, {"role": "assistant", "content": "a"}]}], "without text"),
    ],
)
def test_bad_rows_are_named(loaded, rows, message):
    with pytest.raises(DataError, match=message):
        prepare(loaded, rows, max_length=100)
