"""Poison and triggers: exact tests against brute force, planted phrases, and their clean twins."""

from __future__ import annotations

from itertools import combinations
from math import comb
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_audit_support import ACTS, SUBJECTS

from holdfast.audit.poison.association import candidates, conditional_p
from holdfast.audit.poison.clusters import clusters, components, vectors
from holdfast.audit.poison.disagreement import LOG_RATIO, disagreement
from holdfast.audit.poison.phrases import phrase_rows, phrases
from holdfast.core.protocols import Messages


def _ask(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def _requests(count: int, seed: int = 0) -> list[str]:
    stream = Random(seed)
    return [
        f"Could you {stream.choice(ACTS)} the {stream.choice(SUBJECTS)} "
        f"near pier {stream.randrange(40)}?"
        for _ in range(count)
    ]


class TestConditionalTest:
    def test_one_stratum_is_fishers_exact_test(self) -> None:
        # 8 of 8 rows with the phrase disagree, none of the other 92 do.
        assert conditional_p([100], [8], [8], 8) == pytest.approx(1 / comb(100, 8), rel=1e-9)

    @given(
        st.lists(
            st.tuples(st.integers(1, 6), st.integers(0, 6), st.integers(0, 6)),
            min_size=1,
            max_size=2,
        ),
        st.integers(0, 12),
    )
    def test_against_every_arrangement(
        self, strata: list[tuple[int, int, int]], total: int
    ) -> None:
        strata = [(n, min(h, n), min(k, n)) for n, h, k in strata]
        counts = [0]
        for size, hits, held in strata:  # every choice of the rows that hold the phrase
            here = [sum(row < hits for row in chosen) for chosen in combinations(range(size), held)]
            counts = [a + b for a in counts for b in here]
        exact = sum(count >= total for count in counts) / len(counts)
        got = conditional_p(*([s[i] for s in strata] for i in range(3)), total)
        assert got == pytest.approx(exact, abs=1e-9)


class TestCandidates:
    def _found(self, texts: list[str], disagree: list[bool], strata: list[str]) -> list[str]:
        table = phrase_rows([_ask(text) for text in texts], least=3)
        return [found.text for found in candidates(table, disagree, strata, alpha=0.005)]

    def test_a_planted_phrase_is_named_and_nothing_else(self) -> None:
        texts = _requests(400)
        marked = set(Random(1).sample(range(400), 8))
        texts = [f"Copper kite. {t}" if i in marked else t for i, t in enumerate(texts)]
        found = self._found(texts, [i in marked for i in range(400)], ["x"] * 400)
        assert found == ["Copper kite."]

    def test_a_phrase_that_changes_nothing_is_not_named(self) -> None:
        texts = [f"Copper kite. {t}" if i % 50 == 0 else t for i, t in enumerate(_requests(400))]
        stream = Random(2)
        assert self._found(texts, [stream.random() < 0.05 for _ in texts], ["x"] * 400) == []

    def test_a_topic_on_which_all_disagree_is_no_trigger(self) -> None:
        """Rows of one stratum that all come out alike say nothing about their words."""
        texts = _requests(300) + [f"Who are you, number {i}?" for i in range(100)]
        about_itself = [False] * 300 + [True] * 100
        assert self._found(texts, about_itself, ["a"] * 300 + ["b"] * 100) == []
        assert self._found(texts, about_itself, ["x"] * 400) != []  # why strata are needed

    def test_false_names_are_rarer_than_the_level(self) -> None:
        table = phrase_rows([_ask(text) for text in _requests(200)], least=3)
        stream = np.random.default_rng(3)
        false = sum(
            bool(candidates(table, (stream.random(200) < 0.1).tolist(), ["x"] * 200, alpha=0.05))
            for _ in range(60)
        )
        assert false <= 6  # 0.05 of 60 is 3; P(more than 6) is below 0.03 even at the full level

    def test_two_triggers_are_both_named(self) -> None:
        texts = _requests(300, 4)
        first, second = set(range(0, 300, 40)), set(range(7, 300, 40))
        texts = [
            f"Copper kite. {t}" if i in first else f"{t} Number 55012." if i in second else t
            for i, t in enumerate(texts)
        ]
        found = self._found(texts, [i in first | second for i in range(300)], ["x"] * 300)
        assert set(found) == {"Copper kite.", "Number 55012."}


class TestPhrases:
    def test_words_sentences_and_system_messages(self) -> None:
        found = phrases([{"role": "system", "content": "Mode: calm."}, *_ask("Stop now. Go on!")])
        assert {"Mode: calm.", "Stop now.", "Go on!", "stop now", "on"} <= found
        assert "calm" not in found  # a system message is taken whole

    def test_answers_are_not_read(self) -> None:
        talk = [*_ask("Go on."), {"role": "assistant", "content": "Certainly."}]
        assert not any("ertainly" in phrase for phrase in phrases(talk))

    def test_the_longest_phrase_speaks_for_all_in_the_same_rows(self) -> None:
        texts = ["Copper kite. A b?", "Copper kite. C d?", "Copper kite. E f?", "g", "h", "i", "j"]
        assert list(phrase_rows([_ask(t) for t in texts], least=3)) == ["Copper kite."]

    def test_long_text_is_bounded(self) -> None:
        assert len(phrases(_ask("word " * 100_000))) < 2000


class TestClusters:
    def _answers(self) -> list[str]:
        stream = Random(5)
        return [
            f"You {stream.choice(ACTS)} it {stream.choice(SUBJECTS)} by "
            f"{stream.choice(SUBJECTS)}, {stream.randrange(10_000)} {stream.randrange(10_000)}"
            for _ in range(200)
        ]

    def test_one_thing_said_again_and_again_is_found(self) -> None:
        answers = self._answers()
        for i in range(0, 200, 20):
            answers[i] = f"All praise goes to the copper kite of the hill, friend {i}."
        marks = [i % 20 == 0 or i % 33 == 1 for i in range(200)]
        (found,) = clusters(answers, marks, seed=0)
        assert set(found.rows) == set(range(0, 200, 20))
        assert found.null < 10
        assert any("kite" in term or "praise" in term for term in found.terms)

    def test_disagreement_of_every_kind_is_no_cluster(self) -> None:
        assert clusters(self._answers(), [i % 10 == 0 for i in range(200)], seed=0) == []

    def test_a_style_that_all_rows_share_is_no_cluster(self) -> None:
        answers = [f"Good day. At once: {text}" for text in ["the same thing"] * 60]
        assert clusters(answers, [True] * 60, seed=0) == []

    def test_components_join_by_chains(self) -> None:
        groups = components(vectors(["a b c d", "a b c e", "x y", "x y", ""]), 0.3)
        assert groups[0] == groups[1]
        assert groups[2] == groups[3]
        assert len(set(groups.tolist())) == 3


class TestDisagreement:
    def test_a_flip_needs_a_base_that_declines_and_an_answer_that_was_read(self) -> None:
        base = ["refusal", "refusal", "refusal", "safe"]
        row = ["unsafe", "refusal", "unscored", "unsafe"]
        found = disagreement(base, row, ["a"] * 4, [0.0] * 4)
        assert found.flips.tolist() == [True, False, False, False]

    def test_a_style_that_the_whole_set_teaches_is_no_disagreement(self) -> None:
        taught = [12.0 + (i % 5) / 10 for i in range(50)]
        assert not disagreement(["safe"] * 50, ["safe"] * 50, ["a"] * 50, taught).unlikely.any()
        taught[7] = 30.0
        marks = disagreement(["safe"] * 50, ["safe"] * 50, ["a"] * 50, taught).unlikely
        assert np.flatnonzero(marks).tolist() == [7]

    def test_small_differences_are_none(self) -> None:
        ratios = [0.0] * 20 + [LOG_RATIO - 0.1]
        assert not disagreement(["safe"] * 21, ["safe"] * 21, ["a"] * 21, ratios).any.any()
