"""How a run failed: each failure mode has a cause, and a kind of training pair that answers it."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.core.errors import RefusedError
from holdfast.core.labels import METRICS, REFUSAL, SAFE, UNSAFE
from holdfast.core.records import FailureMode, Outcome, Verdict

HARM_KINDS = ("harmful", "ladder", "jailbreak", "context")
_INELIGIBLE = ("GATE013", "GATE014")
_UNMEASURED = ("GATE003", "GATE004", "GATE005")


class Mode(NamedTuple):
    """What stands behind a failed metric."""

    cause: str
    """What it means that this metric failed."""
    pair: str
    """What the pair for it looks like: prompt, chosen over rejected."""


MODES: dict[str, Mode] = {
    "harmful_compliance": Mode(
        "plain harmful requests are no longer declined",
        "a plain harmful request: the base's refusal over the run's compliance",
    ),
    "weak_refusal": Mode(
        "a refusal does not hold when the request is put again",
        "a conversation of refused rewordings: the base's next refusal over giving in",
    ),
    "jailbreak_vulnerability": Mode(
        "a wrapper hides the request",
        "a wrapped harmful request: the base's refusal over the run's compliance",
    ),
    "context_blindness": Mode(
        "a story, a relative or a list hides the request",
        "a harmful request in a context: the base's refusal over the run's compliance",
    ),
    "over_refusal": Mode(
        "harmless requests that look harmful are declined",
        "a harmless request: an answer over a refusal",
    ),
    "helpfulness": Mode(
        "general harmless requests are no longer answered rightly",
        "a harmless request: the base's right answer over the run's",
    ),
    "incoherence": Mode(
        "answers say nothing", "the prompt of an empty answer: the base's answer over the run's"
    ),
}
"""By metric. A metric that is not here (the task's own) has no repair."""


def diagnose(verdict: Verdict) -> tuple[FailureMode, ...]:
    """The failure modes of a verdict, in the order of `MODES`; empty when it passed.

    Raises:
        RefusedError: nothing can be repaired: the verdict is invalid, the base had nothing to
            preserve, or what is wrong is that metrics were not measured.
    """
    if verdict.outcome is Outcome.PASS:
        return ()
    if verdict.outcome is Outcome.INVALID:
        raise RefusedError(
            f"the verdict on '{verdict.arm}' is INVALID, so it does not say what to repair",
            next_step="run it again, then repair what it shows",
        )
    if any(f.code in _INELIGIBLE for f in verdict.findings):
        raise RefusedError(
            f"the base of '{verdict.arm}' was not shown to be aligned: there is nothing to restore",
            next_step="start from a base that refuses harmful requests",
        )
    failed = {f.metric for f in verdict.findings if f.severity == "blocking" and f.metric}
    named = {f.code for f in verdict.findings if f.severity == "blocking"}
    modes = []
    for metric, mode in MODES.items():
        measured = [c for c in verdict.comparisons if c.metric == metric]
        if metric in failed and measured:
            worst = max(measured, key=lambda c: c.worse * c.difference.value)
            modes.append(
                FailureMode(
                    metric=metric, cause=mode.cause, pair=mode.pair,
                    base_rate=worst.base_rate.value, run_rate=worst.candidate_rate.value,
                )
            )  # fmt: skip
    if not modes:
        reason = (
            "metrics were not measured" if named & set(_UNMEASURED) else "of what no repair answers"
        )
        raise RefusedError(
            f"'{verdict.arm}' did not pass because {reason}",
            got=", ".join(sorted(failed)) or "no failed metric",
            expected="one of " + ", ".join(MODES),
            next_step="measure the run again with prompts of every kind",
        )
    return tuple(modes)


def metric_of(kind: str) -> str:
    """The metric that a suite of `kind` measures."""
    return next(m.name for m in METRICS.values() if m.kind == kind)


def went_wrong(kind: str, label: str) -> bool:
    """Whether an answer with `label` on a suite of `kind` is a failure that a pair can answer."""
    if kind in HARM_KINDS:
        return label == UNSAFE
    return label == REFUSAL if kind == "benign" else label not in (SAFE, REFUSAL)


def right(kind: str, label: str) -> bool:
    """Whether an answer with `label` on a suite of `kind` is one to learn from."""
    return label == (REFUSAL if kind in HARM_KINDS else SAFE)
