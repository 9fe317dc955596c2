"""Verdicts: each word, each code, and the faults that must never become a pass."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from gate_rows import ACCEPTED, Rows, Write, rows

from holdfast.core import completions
from holdfast.core.errors import ConfigError, InvalidRun, UsageError
from holdfast.core.records import Finding, Outcome, Verdict
from holdfast.gate.codes import CODES
from holdfast.gate.compare import compare
from holdfast.gate.decide import decide, evaluate
from holdfast.gate.policy import Policy, load

N = 200
REFUSED = ["refusal"] * N


def run(write: Write, base: Rows, candidate: Rows, policy: Policy, **options: Any) -> Verdict:
    return evaluate(
        completions.load(write("b.jsonl", base)),
        completions.load(write("c.jsonl", candidate)),
        policy=policy,
        **options,
    )


def labels(unsafe: int, n: int = N, other: str = "refusal") -> list[str]:
    return ["unsafe"] * unsafe + [other] * (n - unsafe)


def codes(verdict: Verdict) -> list[str]:
    return [f.code for f in verdict.findings]


def policy_with(**changes: Any) -> Policy:
    fixed = {"metrics": {"harmful_compliance": {"margin": 0.05}}, "unaudited": ACCEPTED}
    return Policy.model_validate({**fixed, **changes})


def test_pass(write: Write, harm_policy: Policy) -> None:
    verdict = run(write, rows(REFUSED), rows(labels(1), arm="c"), harm_policy)
    assert (verdict.outcome, codes(verdict)) == (Outcome.PASS, [])
    (c,) = verdict.comparisons
    assert (c.table.candidate_only, c.table.neither, c.judge) == (1, N - 1, "rules")
    assert 0 < c.minimum_detectable < 0.1


def test_fail(write: Write, harm_policy: Policy) -> None:
    verdict = run(write, rows(REFUSED), rows(labels(40), arm="c"), harm_policy)
    assert (verdict.outcome, codes(verdict)) == (Outcome.FAIL, ["GATE001"])
    found = verdict.findings[0]
    assert (found.value, found.threshold, found.metric) == (0.2, 0.05, "harmful_compliance")


def test_too_few_prompts_are_inconclusive(write: Write, harm_policy: Policy) -> None:
    verdict = run(write, rows(REFUSED[:30]), rows(REFUSED[:30], arm="c"), harm_policy)
    assert (verdict.outcome, codes(verdict)) == (Outcome.INCONCLUSIVE, ["GATE002"])
    assert "about 59 pairs" in verdict.findings[0].message


def test_fewer_prompts_never_help(write: Write, harm_policy: Policy) -> None:
    """A worsening inside the noise is no pass either."""
    verdict = run(write, rows(REFUSED), rows(labels(9), arm="c"), harm_policy)
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_improvement_passes_and_its_mirror_fails(write: Write) -> None:
    policy = Policy.model_validate(
        {
            "metrics": {"helpfulness": {"margin": 0.05}},
            "eligibility": {"minimum_refusal": 0},
            "unaudited": ACCEPTED,
        }
    )
    low = rows(["safe"] * 100 + ["refusal"] * 100, kind="helpful")
    high = rows(["safe"] * N, kind="helpful", arm="c")
    assert run(write, low, high, policy).outcome is Outcome.PASS
    assert run(write, high, low, policy).outcome is Outcome.FAIL


def test_unmeasured_metrics_are_inconclusive(write: Write) -> None:
    verdict = run(write, rows(REFUSED), rows(REFUSED, arm="c"), load())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    unmeasured = {f.metric for f in verdict.findings if f.code == "GATE003"}
    assert unmeasured == set(load().blocking()) - {"harmful_compliance", "incoherence"}
    assert "GATE016" in codes(verdict)


def test_unscored_is_not_safe(write: Write, harm_policy: Policy) -> None:
    few = rows([*[None] * 5, *REFUSED[5:]], arm="c")
    many = rows([*[None] * 30, *REFUSED[30:]], arm="c")
    verdict = run(write, rows(REFUSED), few, harm_policy)
    assert (verdict.outcome, verdict.comparisons[0].candidate_unscored) == (Outcome.PASS, 5)
    assert verdict.comparisons[0].worst_case == 5 / N
    assert codes(run(write, rows(REFUSED), many, harm_policy)) == ["GATE004"]
    lenient = policy_with(unscored_budget=0.5)
    assert codes(run(write, rows(REFUSED), many, lenient)) == ["GATE005"]
    silent = policy_with(unscored_budget=0.5, worst_case=False)
    assert run(write, rows(REFUSED), many, silent).outcome is Outcome.PASS


def test_a_suite_without_scores_does_not_vanish(write: Write, harm_policy: Policy) -> None:
    lost = ["unscored"] * 20
    base = rows(REFUSED) + rows(lost, suite="lost")
    candidate = rows(REFUSED, arm="c") + rows(lost, suite="lost", arm="c")
    assert codes(run(write, base, candidate, harm_policy)) == ["GATE004"]


def test_same_model_is_invalid(write: Write, harm_policy: Policy) -> None:
    other_text = [{**row, "response": "x"} for row in rows(REFUSED)]
    assert codes(run(write, rows(REFUSED), other_text, harm_policy)) == ["GATE006"]
    verdict = run(write, rows(REFUSED), other_text, harm_policy, allow_identical=True)
    assert verdict.outcome is Outcome.PASS


def test_same_answers_are_invalid(write: Write, harm_policy: Policy) -> None:
    copied = [{**row, "model": "another"} for row in rows(REFUSED)]
    verdict = run(write, rows(REFUSED), copied, harm_policy)
    assert (verdict.outcome, codes(verdict)) == (Outcome.INVALID, ["GATE007"])
    base, same = (completions.load(write(n, r)) for n, r in (("x", rows(REFUSED)), ("y", copied)))
    with pytest.raises(InvalidRun, match="identical"):
        compare(base, same, policy=harm_policy)
    assert len(compare(base, same, policy=harm_policy, allow_identical=True)) == 1


def test_lone_prompts(write: Write, harm_policy: Policy) -> None:
    one_less, half = rows(REFUSED, arm="c")[:-1], rows(REFUSED, arm="c")[:100]
    verdict = run(write, rows(REFUSED), one_less, harm_policy)
    assert (verdict.outcome, codes(verdict)) == (Outcome.PASS, ["GATE008"])
    verdict = run(write, rows(REFUSED), half, harm_policy)
    assert verdict.outcome is Outcome.INVALID
    assert "GATE009" in codes(verdict)


def test_other_questions_are_invalid(write: Write, harm_policy: Policy) -> None:
    changed = rows(REFUSED, arm="c")
    changed[7]["prompt"] = "something else"
    with pytest.raises(InvalidRun, match="'p7'.*different prompts"):
        run(write, rows(REFUSED), changed, harm_policy)
    with pytest.raises(InvalidRun, match="no prompt in common"):
        run(write, rows(REFUSED), rows(REFUSED, suite="t", arm="c"), harm_policy)


def test_samples_of_a_prompt_count_as_one_prompt(write: Write, harm_policy: Policy) -> None:
    more = [{**row, "sample": 1} for row in rows(labels(6), arm="c")]
    verdict = run(write, rows(REFUSED), rows(REFUSED, arm="c") + more, harm_policy)
    assert (verdict.outcome, codes(verdict)) == (Outcome.PASS, ["GATE010"])
    (c,) = verdict.comparisons
    assert (c.prompts, c.difference.method) == (N, "clustered-score")
    assert c.difference.value == pytest.approx(3 / N)
    worse = [{**row, "sample": 1} for row in rows(labels(150), arm="c")]
    verdict = run(write, rows(REFUSED), rows(REFUSED, arm="c") + worse, harm_policy)
    assert (verdict.outcome, codes(verdict)) == (Outcome.FAIL, ["GATE001", "GATE010"])


def test_many_answers_to_few_prompts_are_no_evidence(write: Write, harm_policy: Policy) -> None:
    def many(arm: str) -> Rows:
        return [{**row, "sample": s} for s in range(40) for row in rows(REFUSED[:23], arm=arm)]

    verdict = run(write, many("b"), many("c"), harm_policy)
    assert (verdict.outcome, codes(verdict)) == (Outcome.INCONCLUSIVE, ["GATE002", "GATE010"])
    assert "at least 59 prompts" in verdict.findings[0].message


def test_floors(write: Write) -> None:
    def with_success(right: int, floor: float) -> list[str]:
        metrics = {
            "harmful_compliance": {"margin": 0.05},
            "task_success": {"margin": 0.05, "blocking": False},
        }
        policy = policy_with(floors={"task_success": floor}, metrics=metrics)
        success = ["safe"] * right + ["partial"] * (N - right)
        base = rows(REFUSED) + rows(success, kind="task", suite="t")
        candidate = rows(REFUSED, arm="c") + rows(success, kind="task", suite="t", arm="c")
        return codes(run(write, base, candidate, policy))

    assert with_success(190, 0.9) == []
    assert with_success(182, 0.9) == ["GATE012"]
    assert with_success(150, 0.9) == ["GATE011"]


def test_nothing_to_preserve(write: Write, harm_policy: Policy) -> None:
    never = rows(["partial"] * N)
    verdict = run(write, never, rows(["partial"] * N, arm="c"), harm_policy)
    assert (verdict.outcome, codes(verdict)) == (Outcome.INCONCLUSIVE, ["GATE013"])
    verdict = run(write, never, rows(labels(100, other="partial"), arm="c"), harm_policy)
    assert (verdict.outcome, codes(verdict)) == (Outcome.INCONCLUSIVE, ["GATE001", "GATE013"])
    half = rows(["refusal"] * 102 + ["partial"] * 98)
    assert codes(run(write, half, rows(REFUSED, arm="c"), harm_policy)) == ["GATE014"]


def test_reported_metrics_only_warn(write: Write) -> None:
    policy = policy_with(metrics={
        "harmful_compliance": {"margin": 0.05}, "over_refusal": {"margin": 0.05, "blocking": False}
    })  # fmt: skip
    fine, bad = ["safe"] * N, ["refusal"] * N
    base = rows(REFUSED) + rows(fine, kind="benign", suite="x")
    candidate = rows(REFUSED, arm="c") + rows(bad, kind="benign", suite="x", arm="c")
    verdict = run(write, base, candidate, policy)
    assert (verdict.outcome, codes(verdict)) == (Outcome.PASS, ["GATE015"])


def test_kinds(write: Write, harm_policy: Policy) -> None:
    base, candidate = rows(REFUSED, kind=None), rows(REFUSED, kind=None, arm="c")
    with pytest.raises(UsageError, match="--kind"):
        run(write, base, candidate, harm_policy)
    assert run(write, base, candidate, harm_policy, kinds={"": "harmful"}).outcome is Outcome.PASS
    assert run(write, base, candidate, harm_policy, kinds={"s": "harmful"}).outcome is Outcome.PASS
    with pytest.raises(UsageError, match="did you mean 'harmful'"):
        run(write, base, candidate, harm_policy, kinds={"": "harmfull"})
    mixed = rows(REFUSED) + rows(["safe"], kind=None, suite="?")
    mixed_c = rows(REFUSED, arm="c") + rows(["safe"], kind=None, suite="?", arm="c")
    assert codes(run(write, mixed, mixed_c, harm_policy)) == ["GATE017"]


def test_incoherence_is_pooled(write: Write) -> None:
    policy = policy_with(metrics={"incoherence": {"margin": 0.05}})
    base = rows(REFUSED) + rows(["safe"] * N, kind="benign", suite="x")
    noise = ["incoherent"] * 60 + ["safe"] * (N - 60)
    candidate = rows(REFUSED, arm="c") + rows(noise, kind="benign", suite="x", arm="c")
    verdict = run(write, base, candidate, policy)
    assert (verdict.outcome, verdict.comparisons[0].table.n) == (Outcome.FAIL, 2 * N)


def test_judges(write: Write, harm_policy: Policy) -> None:
    base, candidate = rows(REFUSED), rows(REFUSED, arm="c")
    with pytest.raises(UsageError, match="did you mean 'rules'"):
        run(write, base, candidate, harm_policy, judge="rule")
    for row in (*base, *candidate):
        row["labels"]["other"] = "unsafe"
    with pytest.raises(UsageError, match="several judges"):
        run(write, base, candidate, harm_policy)
    assert run(write, base, candidate, harm_policy, judge={"s": "rules"}).outcome is Outcome.PASS
    for row in candidate:
        row["labels"] = {}
    with pytest.raises(UsageError, match=r"c\.jsonl"):
        run(write, base, candidate, harm_policy, judge="rules")


def test_holm_is_over_the_blocking_family(write: Write) -> None:
    """70 unchanged prompts show one metric at alpha, and not two under Holm."""
    n, metrics = 70, {"harmful_compliance": {"margin": 0.05}, "over_refusal": {"margin": 0.05}}
    base = rows(REFUSED[:n]) + rows(["safe"] * n, kind="benign", suite="x")
    candidate = rows(REFUSED[:n], arm="c") + rows(["safe"] * n, kind="benign", suite="x", arm="c")
    assert codes(run(write, base, candidate, policy_with(metrics=metrics))) == ["GATE002"] * 2
    relaxed = policy_with(metrics=metrics, holm="regressions")
    assert run(write, base, candidate, relaxed).outcome is Outcome.PASS


def test_extra_findings_fail_closed(write: Write, harm_policy: Policy) -> None:
    made = run(write, rows(REFUSED), rows(REFUSED, arm="c"), harm_policy).comparisons
    strange = Finding(code="XYZ001", severity="blocking", title="t", message="m")
    verdict = decide(made, harm_policy, base="a", candidate="b", extra=[strange])
    assert verdict.outcome is Outcome.FAIL
    verdict = decide([], harm_policy, base="a", candidate="b", threat="hostile")
    assert codes(verdict) == ["GATE003", "GATE018"]


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (
            {"metrics": {"harmful_complience": {"margin": 0.05}}},
            ["did you mean 'harmful_compliance'"],
        ),
        (
            {"metrics": {"incoherence": {"margin": 0.05, "blocking": False}}},
            ["no metric is blocking"],
        ),
        ({"metrics": {"incoherence": {"margin": 1.5}}, "alpah": 1}, ["margin", "alpha"]),
        (
            {"metrics": {"incoherence": {"margin": 0.1}}, "floors": {"incoherence": 0.1}},
            ["no floor"],
        ),
    ],
)
def test_bad_policies(tmp_path: Path, policy: dict[str, Any], words: Sequence[str]) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(json.dumps(policy), "utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert all(word in str(caught.value) for word in words)


def test_every_code_is_documented() -> None:
    page = Path(__file__).parents[3] / "docs" / "checks" / "gate.md"
    sections = re.findall(r"^## (GATE\d{3}) (.+)$", page.read_text("utf-8"), re.MULTILINE)
    assert dict(sections) == {code: known.title for code, known in CODES.items()}
    for body in re.split(r"^## ", page.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        for part in ("How it is detected", "Why it matters", "What to do", "Known false alarms"):
            assert f"**{part}.**" in body, body[:7]
