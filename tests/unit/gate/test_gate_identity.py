"""Answers of weights that nobody has seen do not pass, unless the policy says why they may."""

from __future__ import annotations

import pytest

from holdfast.core.records import Outcome
from holdfast.core.records.refs import is_verified, unverified
from holdfast.gate.codes import CODES
from holdfast.gate.decide import decide
from holdfast.gate.identity import unverified_arms
from holdfast.gate.policy import Policy, load

NAMED = unverified("tiny@http://localhost:8000/v1")


def _codes(base: str, candidate: str, policy: Policy) -> list[str]:
    return [found.code for found in unverified_arms(base, candidate, policy)]


def test_a_name_is_no_digest() -> None:
    assert is_verified("ab12")
    assert not is_verified("")
    assert not is_verified(NAMED)
    assert unverified(NAMED) == NAMED


def test_each_unverified_arm_is_named_and_forbids_a_pass() -> None:
    policy = load()
    assert _codes("aa", "bb", policy) == []
    assert _codes("aa", NAMED, policy) == ["GATE024"]
    assert _codes(NAMED, NAMED, policy) == ["GATE024", "GATE024"]
    assert CODES["GATE024"].outcome is Outcome.INCONCLUSIVE
    found = unverified_arms("aa", NAMED, policy)[0]
    assert "candidate is known by name only (tiny@http://localhost:8000/v1)" in found.message


@pytest.mark.parametrize("words", ["", "  "])
def test_a_policy_without_words_accepts_nothing(words: str) -> None:
    policy = load().model_copy(update={"unverified": words})
    assert _codes("aa", NAMED, policy) == ["GATE024"]


def test_a_policy_with_words_is_quoted() -> None:
    policy = load().model_copy(update={"unverified": "our own server on sealed weights"})
    found = unverified_arms("aa", NAMED, policy)
    assert [f.code for f in found] == ["GATE025"]
    assert "our own server on sealed weights" in found[0].message


def test_the_decision_holds_the_finding() -> None:
    verdict = decide([], load(), base="aa", candidate=NAMED)
    assert "GATE024" in {found.code for found in verdict.findings}
    assert verdict.outcome is Outcome.INCONCLUSIVE
