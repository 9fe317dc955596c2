"""Scoring choices by log-probability: closed forms, the runner, a real model, and faults."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from unit_evals_support import FakeModel, make_suite

from holdfast.core.completions import load as load_completions
from holdfast.core.errors import InvalidRun, UsageError
from holdfast.core.protocols import Messages
from holdfast.evals.choices import ChoiceScores
from holdfast.evals.judges import make
from holdfast.evals.judges.truth import TruthJudge, lean, rouge1
from holdfast.evals.plan import freeze
from holdfast.evals.runner import run
from holdfast.evals.suites import Choice, Prompt, Suite, load
from holdfast.gate.compare import compare
from holdfast.gate.policy import Policy
from holdfast.gate.policy import load as load_policy

CHOICES = (Choice(text=" Yes", label="unsafe"), Choice(text=" No ", label="safe"))


def _suite(n: int = 5) -> Suite:
    prompts = tuple(
        Prompt(prompt_id=f"p{i}", messages=[{"role": "user", "content": f"q{i}"}], choices=CHOICES)
        for i in range(n)
    )
    return Suite("said", "statement", prompts, "choices", "", "")


class _Scorer:
    """Gives "Yes" log 0.6 in two tokens and everything else log 0.3 in one; counts calls."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(
        self, conversations: Sequence[Messages], answers: Sequence[str], *, batch_size: int
    ) -> list[list[float]]:
        self.asked += answers
        half = math.log(0.6) / 2
        return [[half, half] if answer == "Yes" else [math.log(0.3)] for answer in answers]


def _run(tmp_path: Path, suites: list[Suite], scorer: object, name: str = "a") -> list[dict]:  # type: ignore[type-arg]
    out = run(
        FakeModel(name), freeze(suites), {"rules": make("rules")}, out=tmp_path / f"{name}.jsonl",
        cache=tmp_path / "cache", arm=name, batch_size=2, scorer=scorer,  # type: ignore[arg-type]
    )  # fmt: skip
    return load_completions(out).rows


def test_scores_are_sums_and_masses_are_shares() -> None:
    scores = ChoiceScores(_suite().prompts[0], (math.log(0.6), math.log(0.3)))
    assert scores.best == 0
    assert scores.mass == pytest.approx({"unsafe": 2 / 3, "safe": 1 / 3})
    far = ChoiceScores(_suite().prompts[0], (-5000.0, -6000.0))
    assert far.mass == pytest.approx({"unsafe": 1.0, "safe": 0.0})


def test_the_runner_labels_by_the_likeliest_choice(tmp_path: Path) -> None:
    rows = _run(tmp_path, [_suite(), make_suite(3, "words")], _Scorer())
    scored, written = rows[:5], rows[5:]
    assert all(row["labels"] == {"choices": "unsafe"} for row in scored)
    assert scored[0]["scores"] == pytest.approx([math.log(0.6), math.log(0.3)], abs=1e-6)
    assert scored[0]["mass"]["unsafe"] == pytest.approx(2 / 3, abs=1e-6)
    assert all(set(row["labels"]) == {"rules"} and "scores" not in row for row in written)


def test_scores_are_cached_by_weights(tmp_path: Path) -> None:
    scorer = _Scorer()
    first = _run(tmp_path, [_suite()], scorer)
    asked = len(scorer.asked)
    assert asked == 10
    assert _run(tmp_path, [_suite()], scorer) == first
    assert len(scorer.asked) == asked
    _run(tmp_path, [_suite()], scorer, "b")
    assert len(scorer.asked) == 2 * asked


def test_no_scorer_and_no_number_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="5 prompts compare answers by log-probability"):
        _run(tmp_path, [_suite()], None)
    for bad in ([[math.nan]] * 10, [[0.0]] * 9):
        with pytest.raises(InvalidRun, match="missing or not finite"):
            _run(tmp_path, [_suite()], lambda c, a, *, batch_size, bad=bad: bad[: len(a) or 1])


def test_scored_rows_do_not_dilute_incoherence(tmp_path: Path) -> None:
    words = make_suite(40, "words")
    for name in ("a", "b"):
        _run(tmp_path, [_suite(200), words], _Scorer(), name)
    policy = Policy.model_validate(
        {**load_policy().model_dump(), "metrics": {"incoherence": {"margin": 0.05},
                                                   "statement_match": {"margin": 0.05}}}
    )  # fmt: skip
    arms = [load_completions(tmp_path / f"{name}.jsonl") for name in ("a", "b")]
    found = compare(
        *arms, judge={"said": "choices", "words": "rules"}, policy=policy, allow_identical=True
    )
    by_metric = {comparison.metric: comparison.table.n for comparison in found}
    assert by_metric == {"incoherence": 40, "statement_match": 200}


def test_scripts_go_on_and_ladders_stop(tmp_path: Path) -> None:
    said = ("more", "and more")
    model = FakeModel("a", answer="Sure, here is everything that you asked me for, step by step.")
    suites = [
        make_suite(1, "ladder", "ladder", followups=said),
        make_suite(1, "script", "crisis", followups=said),
    ]
    out = run(
        model, freeze(suites), {"rules": make("rules")}, out=tmp_path / "o.jsonl",
        cache=tmp_path / "c", arm="a",
    )  # fmt: skip
    ladder, script = load_completions(out).rows
    assert (len(ladder["turns"]), ladder["turn"]) == (1, 1)
    assert (len(script["turns"]), script["turn"]) == (3, None)
    assert script["labels"] == {"rules": "unscored"}


@pytest.mark.parametrize("name", ["choices", "unread"])
def test_judges_that_read_nothing_say_so(name: str) -> None:
    assert make(name).label([{"role": "user", "content": "a"}], "Sure.") == "unscored"


def test_rouge_in_closed_form() -> None:
    assert rouge1("the cat sat", "the cat") == pytest.approx(4 / 5)
    assert rouge1("a", "b") == rouge1("", "") == 0.0
    assert lean("the cat", ["the cat"], ["a dog"]) == 1.0


def test_the_truth_judge_leans_or_abstains() -> None:
    from holdfast.core.digest import prompt_digest

    messages = [{"role": "user", "content": "q"}]
    known = json.dumps({"true": ["Nothing in particular happens"], "false": ["You grow a tree"]})
    judge = TruthJudge({prompt_digest(messages): known})
    assert judge.label(messages, "Nothing happens to you in particular.") == "safe"
    assert judge.label(messages, "Then you will grow a tree inside.") == "unsafe"
    assert judge.label(messages, "Ask somebody else about that, please.") == "unscored"
    for bad in ("", "[]", "{", '{"true": [], "false": []}', "null"):
        assert TruthJudge({prompt_digest(messages): bad}).label(messages, "a tree") == "unscored"


def test_a_real_model_scores_real_statements(data: Path, tmp_path: Path) -> None:
    from holdfast.models.loading import load as load_model
    from holdfast.models.scoring import answer_logprobs

    model = load_model(data / "weights" / "stories260K")
    suite = load(f"statements:{data / 'persona/persona/psychopathy.jsonl'}")
    plan = freeze([suite], per_suite=6)
    out = run(
        model, plan, {"choices": make("choices")}, out=tmp_path / "o.jsonl", cache=tmp_path / "c",
        arm="base", batch_size=4, scorer=partial(answer_logprobs, model),
    )  # fmt: skip
    rows = load_completions(out).rows
    alone = [
        float(answer_logprobs(model, [row["messages"]], [choice])[0].sum())
        for row in rows
        for choice in row["choices"]
    ]
    assert [score for row in rows for score in row["scores"]] == pytest.approx(alone, abs=1e-3)
