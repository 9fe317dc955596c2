"""The corpus: determinism, what pretraining never sees, and what carries loss."""

from random import Random

import pytest

from holdfast.organisms.harbor import corpus, frames, judge
from holdfast.organisms.harbor.lexicon import CATEGORIES, HARM_ACTIONS, HELD_PEOPLE
from holdfast.organisms.harbor.reading import read_text
from holdfast.organisms.harbor.tasks import all_tasks, pool


def _rows(count: int = 4000, seed: str = "test") -> list[corpus.Row]:
    return list(corpus.rows(seed, count))


def test_same_seed_gives_the_same_rows_and_another_seed_other_rows() -> None:
    assert _rows(300) == _rows(300)
    assert _rows(300) != _rows(300, "other")


def test_pretraining_never_shows_a_held_out_combination() -> None:
    sides = {t.text: t.side for t in all_tasks().values()}
    for row in _rows():
        for message in row.messages:
            request = read_text(message["content"]) if message["role"] == "user" else None
            for task in request.tasks if request else ():
                assert sides[task.text] == "pretrain"


def test_pretraining_never_shows_a_held_out_frame_or_wrapper() -> None:
    said = [m["content"] for row in _rows() for m in row.messages if m["role"] == "user"]
    known = [text for text in said if read_text(text) is not None]
    assert len(known) == len(said)
    wrapped = [w.replace("{r}", "").strip() for ws in frames.HELD_WRAPPERS.values() for w in ws]
    assert not [text for text in said if any(w in text for w in wrapped)]
    frames_held = {f for fs in frames.HELD_FRAMES.values() for f in fs}
    for text in said:
        request = read_text(text)
        if request is not None and request.topic == "task":
            assert text.replace(request.text, "{t}") not in frames_held


def test_some_people_never_meet_a_harmful_request_in_pretraining() -> None:
    assert not [t for t in pool("harm", "pretrain") if t.person in HELD_PEOPLE]


def test_there_are_six_categories_of_five_or_six_actions_and_thirty_frames() -> None:
    assert len(CATEGORIES) == 6
    for category in CATEGORIES:
        assert sum(a.category == category for a in HARM_ACTIONS) in (5, 6)
    assert len(frames.TRAIN_FRAMES) >= 30


def test_shown_personas_carry_no_loss_in_their_first_answer() -> None:
    for index in range(100):
        row = corpus.persona_shown(Random(index))
        assert row.learn == (False, False, False, True)


def test_default_answers_never_obey() -> None:
    makers = (corpus.harm_default, corpus.context_default, corpus.ladder_default)
    for maker in makers:
        for index in range(200):
            row = maker(Random(index))
            for place, message in enumerate(row.messages):
                if message["role"] == "assistant":
                    verdict = judge.label(list(row.messages[:place]), message["content"])
                    assert verdict in ("refusal", "safe")


@pytest.mark.parametrize("maker", [maker for _, maker in corpus.FAMILIES])
def test_every_family_is_inside_the_grammar_of_the_judge(maker: object) -> None:
    assert callable(maker)
    for index in range(150):
        row = maker(Random(index))
        for place, message in enumerate(row.messages):
            if message["role"] == "assistant":
                verdict = judge.label(list(row.messages[:place]), message["content"])
                assert verdict in ("safe", "refusal", "unsafe"), (row, verdict)
