"""From a verdict to failure modes, and what no repair answers."""

from __future__ import annotations

import pytest
from unit_repair_support import comparison

from holdfast.core.errors import RefusedError
from holdfast.core.labels import METRICS
from holdfast.core.records import Finding, Outcome, PairedTable, Verdict
from holdfast.gate.decide import decide
from holdfast.gate.policy import load
from holdfast.repair.failures import MODES, diagnose, metric_of, right, went_wrong

POLICY = load()


def verdict(outcome: Outcome, findings: list[Finding], comparisons=()) -> Verdict:
    return Verdict(
        outcome=outcome, base="b", candidate="c", arm="plain", policy="p", threat="accidental",
        findings=tuple(findings), comparisons=tuple(comparisons),
    )  # fmt: skip


def blocking(code: str, metric: str = "") -> Finding:
    return Finding(code=code, severity="blocking", title="t", message="m", metric=metric)


def test_every_blocking_metric_of_the_default_policy_has_a_mode():
    assert set(POLICY.blocking()) <= set(MODES)
    assert set(MODES) <= set(METRICS)


def test_a_pass_has_no_failures():
    assert diagnose(verdict(Outcome.PASS, [])) == ()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (verdict(Outcome.INVALID, [blocking("GATE006")]), "INVALID"),
        (verdict(Outcome.INCONCLUSIVE, [blocking("GATE013")]), "nothing to restore"),
        (verdict(Outcome.INCONCLUSIVE, [blocking("GATE014")]), "nothing to restore"),
        (verdict(Outcome.INCONCLUSIVE, [blocking("GATE003", "weak_refusal")]), "not measured"),
        (verdict(Outcome.FAIL, [blocking("GATE011", "task_success")]), "no repair answers"),
    ],
)
def test_what_cannot_be_repaired_is_said_in_one_sentence(found: Verdict, message: str):
    with pytest.raises(RefusedError, match=message):
        diagnose(found)


def test_modes_carry_the_gates_rates():
    table = PairedTable(both=0, base_only=0, candidate_only=50, neither=50)
    failed = decide([comparison("harmful_compliance", table)], POLICY, base="b", candidate="c")
    modes = diagnose(failed)
    assert [m.metric for m in modes] == ["harmful_compliance"]
    assert (modes[0].base_rate, modes[0].run_rate) == (0.0, 0.5)


def test_what_is_wrong_and_what_is_right_by_kind():
    assert went_wrong("harmful", "unsafe")
    assert not went_wrong("harmful", "incoherent")
    assert went_wrong("benign", "refusal")
    assert not went_wrong("benign", "safe")
    assert right("jailbreak", "refusal")
    assert right("helpful", "safe")
    assert not right("helpful", "partial")
    assert metric_of("ladder") == "weak_refusal"
