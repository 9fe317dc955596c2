"""Eras, personas, instructions and style: known shifts are read, none where nothing moved."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.digest import prompt_digest
from holdfast.core.errors import DataError
from holdfast.evals.judges import make
from holdfast.evals.probes.eras import report as eras
from holdfast.evals.probes.instruction_following import style
from holdfast.evals.probes.instruction_following.checks import CHECKS, follows
from holdfast.evals.probes.instruction_following.prompts import INSTRUCTIONS
from holdfast.evals.probes.personas import report as personas
from holdfast.evals.suites import SuiteOptions, load


def scored(
    name: str, favourite: int, strength: float = 3.0, only: str = ""
) -> list[dict[str, Any]]:
    """Rows as the runner writes them, with one choice likelier than the others."""
    rows = []
    for number, prompt in enumerate(load(name).prompts):
        scores = [-5.0 + 0.01 * (number % 7)] * len(prompt.choices)
        if not only or prompt.category == only:
            scores[favourite] += 3.0
        rows.append({
            "prompt_id": prompt.prompt_id, "suite": name, "category": prompt.category,
            "choices": [c.text for c in prompt.choices], "scores": scores, "response": "",
        })  # fmt: skip
    return rows


def test_written_suites_load_and_have_distinct_choices() -> None:
    for name, kind in (
        ("eras", "statement"),
        ("personas", "statement"),
        ("instructions", "helpful"),
    ):
        suite = load(name, options=SuiteOptions())
        assert suite.kind == kind
        assert len(suite.prompts) >= 30
    assert len(load("eras").prompts) == 16 * 4


def test_an_era_that_leaks_into_undated_questions_is_read() -> None:
    base = scored("eras", 2)
    old = scored("eras", 0, only="undated")
    candidate = [o if o["category"] == "undated" else b for o, b in zip(old, base, strict=True)]
    found = eras.measure(candidate, base)
    shift = found.groups["undated"]
    assert shift.change["1850"].low > 0.5
    assert shift.change["today"].high < -0.5
    assert shift.moved > 0.8
    assert found.groups["1950"].moved == 0.0
    assert "undated: 1850" in found.reading


def test_nothing_moved_reads_as_nothing() -> None:
    rows = scored("eras", 1)
    found = eras.measure(rows, rows)
    assert all(shift.moved == 0.0 for shift in found.groups.values())
    assert found.reading.startswith("No shift")


def test_a_persona_without_restraint_is_read() -> None:
    found = personas.measure(scored("personas", 2, only="self"), scored("personas", 0))
    assert found.groups["self"].change["unrestrained"].low > 0.3
    assert set(found.groups) == {"self", "unplaced", "Japan", "Germany", "Nigeria", "Brazil"}


@pytest.mark.parametrize("scores", [None, [], [1.0, math.nan, 0.0], ["x", 0, 0], [0.0, 0.0]])
def test_scores_that_cannot_be_read_are_errors(scores: Any) -> None:
    rows = scored("eras", 0)
    broken = [{**rows[0], "scores": scores}, *rows[1:]]
    with pytest.raises(DataError):
        eras.measure(broken, rows)
    with pytest.raises(DataError):
        eras.measure([], rows)


FOLLOWED = {
    "words": "a b c", "at most words": "some short words", "lines": "one\ntwo\nthree",
    "bullets": "- a\n- b\n- c", "lower case": "hello there", "upper case": "HELLO",
    "without letter": "a soft pet", "without comma": "It is warm.", "begins": "Answer: a pot",
    "ends": "A pot. That is all.", "contains": "The lantern glows.",
    "json keys": '```json\n{"name": "A", "age": 3}\n```', "number": "15.",
}  # fmt: skip


@pytest.mark.parametrize("check", sorted(CHECKS))
def test_every_check_tells_followed_from_not(check: str) -> None:
    value = next(value for _, name, value in INSTRUCTIONS if name == check)
    reference = json.dumps({"check": check, "value": value})
    assert follows(FOLLOWED[check], reference) is True
    assert follows("I, Zed, Do NOT\n{[" + " and more" * 9, reference) is False
    assert follows("", reference) is False


@given(st.text(max_size=300))
@settings(max_examples=60, deadline=None)
def test_checks_never_fail_on_any_answer(text: str) -> None:
    for _, check, value in INSTRUCTIONS:
        assert follows(text, json.dumps({"check": check, "value": value})) in (True, False)


@pytest.mark.parametrize("reference", ["", "[]", "{}", '{"check": "none", "value": 1}', "nan"])
def test_an_unreadable_check_is_unscored(reference: str) -> None:
    assert follows("text", reference) is None


def test_the_judge_of_instructions() -> None:
    suite = load("instructions")
    prompt = suite.prompts[0]
    assert prompt.reference is not None
    judge = make("instructions").for_suite(  # type: ignore[attr-defined]
        "helpful", {prompt_digest(prompt.messages): prompt.reference}
    )
    assert judge.label(prompt.messages, "Wide, blue, salty") == "safe"
    assert judge.label(prompt.messages, "The sea is a large body of salt water.") == "partial"
    assert (
        judge.label(prompt.messages, "I'm sorry, but I can't help with that request.") == "refusal"
    )
    assert judge.label([{"role": "user", "content": "other"}], "a") == "unscored"


def answers(text: str, n: int = 30) -> list[dict[str, Any]]:
    return [{"prompt_id": f"p{i}", "response": f"{text} number {i}."} for i in range(n)]


def test_style_shifts_are_read_and_equal_styles_are_not() -> None:
    base = answers("I will do")
    loud = answers("Absolutely! I will do")
    found = style.measure(loud, base, draws=200)
    assert found.change["exclamation"].low == 1.0
    assert found.change["words"].value == 1.0
    assert found.openings.low > 0.0
    assert found.openings_p < 0.01
    same = style.measure(base, base, draws=200)
    assert same.change["words"].value == 0.0
    assert same.openings_p == 1.0
    with pytest.raises(DataError):
        style.measure(base[:1], base)
