"""What a run shows, in sentences and as plain values: terminal, HTML and JSON share it."""

from __future__ import annotations

from typing import Any

from holdfast.core.labels import METRICS
from holdfast.core.records import (
    Comparison,
    DriftValue,
    Outcome,
    RepairRecord,
    Threat,
    Verdict,
)
from holdfast.report.load import Arm, Run
from holdfast.report.rates import Rate
from holdfast.report.text import (
    NOT_MEASURED,
    clean,
    listed,
    number,
    one_line,
    percent,
    seconds,
    words,
)

THREATS: dict[Threat, str] = {
    "accidental": (
        "Threat label: accidental. The result speaks about safety lost by accident while training "
        "on benign data. It claims nothing about data that somebody poisoned, and nothing about a "
        "trainer who wants to remove safety: no known defence stops that."
    ),
    "contaminated": (
        "Threat label: contaminated. The result speaks about training data of which some rows are "
        "bad. It claims nothing about a trainer who wants to remove safety: no known defence stops "
        "that."
    ),
    "hostile": (
        "Threat label: hostile. The trainer is assumed to want safety gone. No known defence stops "
        "that, and Holdfast does not claim to: read the numbers as a measurement, not as a guard."
    ),
}
NO_THREAT = "Threat label: not stated, because no verdict was recorded. Nothing is claimed."
_SHOWN = ("harmful_compliance", "task_success", "over_refusal")


def outcome_word(arm: Arm) -> str:
    """`PASS`, `FAIL`, `INCONCLUSIVE`, `INVALID`, or `NOT MEASURED` where there is no verdict."""
    return arm.verdict.outcome.value.upper() if arm.verdict else NOT_MEASURED.upper()


def reason(verdict: Verdict | None) -> str:
    """The verdict's reason in one sentence."""
    if verdict is None:
        return "No verdict was recorded for this arm, so nothing is known about its safety."
    deciding = [f for f in verdict.findings if f.severity == "blocking"]
    if verdict.outcome != Outcome.PASS:
        if not deciding:
            return "The verdict records no blocking finding that would explain it."
        more = f" ({len(deciding) - 1} more below)" if len(deciding) > 1 else ""
        return f"{one_line(deciding[0].message)}{more}"
    if not verdict.comparisons:
        return "The verdict records no comparison, so nothing here supports it."
    names = list(dict.fromkeys(words(c.metric) for c in verdict.comparisons))
    unsure = {words(c.metric) for c in verdict.comparisons if not non_inferior(c)}
    kept = listed(name for name in names if name not in unsure) or "no metric"
    rest = f"; not shown on {listed(n for n in names if n in unsure)}" if unsure else ""
    return f"Not worse than its base by more than the margin on {kept}{rest}."


def repair_sentence(record: RepairRecord) -> str:
    """Whether a step repaired the arm, and which."""
    name = one_line(record.arm, 40)
    asked = f"{record.gates_asked} gate{'' if record.gates_asked == 1 else 's'} asked"
    if not record.method:
        tried = len(record.attempts)
        return f"{name} was not repaired: none of {tried} steps passed the gate ({asked})."
    last = record.attempts[-1]
    setting = f" ({one_line(last.chosen.name, 60)})" if last.chosen else ""
    task = ""
    if last.task_kept is not None:
        before, after = last.task_kept.base_rate.value, last.task_kept.candidate_rate.value
        task = f"; held-out task success went from {percent(before)} to {percent(after)}"
    return f"{name} was repaired by {words(last.method)}{setting}: the gate passes ({asked}){task}."


def threat_sentence(run: Run) -> str:
    """What is claimed and what is not."""
    threats = dict.fromkeys(arm.verdict.threat for arm in run.arms.values() if arm.verdict)
    return " ".join(THREATS[threat] for threat in threats) or NO_THREAT


def worsening(comparison: Comparison) -> tuple[float, float]:
    """Worsening of the candidate and its upper confidence end; positive is worse."""
    difference = comparison.difference
    if comparison.worse > 0:
        return difference.value, difference.high
    return -difference.value, -difference.low


def non_inferior(comparison: Comparison) -> bool:
    """Whether the interval excludes a worsening as large as the margin."""
    return worsening(comparison)[1] < comparison.margin


def what_happened(run: Run) -> list[str]:
    """The story in about ten sentences, absent parts named."""
    lines = [_base_line(run), _data_line(run)]
    lines += [_training_line(arm) for arm in run.arms.values()]
    lines += [_rate_line(run, metric) for metric in _SHOWN]
    lines.append(_geometry_line(run))
    lines += [_alarm_line(arm) for arm in run.arms.values()]
    lines += [f"{repair_sentence(record)} {one_line(record.control)}" for record in run.repairs]
    return lines


def facts(run: Run) -> dict[str, Any]:
    """The same as JSON values; None means not measured."""
    return {
        "run": run.folder.name,
        "plan_digest": run.plan_digest or None,
        "base": run.base.model_digest if run.base else None,
        "eligible": run.safety_map.eligible if run.safety_map else None,
        "arms": {name: _arm_facts(run, arm) for name, arm in run.arms.items()},
        "base_rates": _rate_facts(run.base_rates),
        "free_baselines": run.free_baselines,
        "what_happened": what_happened(run),
        "missing": missing(run),
        "problems": [one_line(problem) for problem in run.problems],
    }


def missing(run: Run) -> list[str]:
    """Every part of a full run that this folder lacks."""
    wanted: dict[str, object] = {
        "plan": run.plan,
        "journal": run.journal_entries,
        "base model reference": run.base,
        "dataset reference": run.dataset,
        "safety map": run.safety_map,
        "base answers": run.base_final,
        "base answers on the epoch plan": run.base_epoch_rates or None,
        "any arm": run.arms or None,
    }
    for name, arm in run.arms.items():
        wanted |= {
            f"{name}: training record": arm.training,
            f"{name}: drift reports": arm.drifts or None,
            f"{name}: answers": arm.final,
            f"{name}: answers per epoch": arm.epochs or None,
            f"{name}: verdict": arm.verdict,
        }
    return [one_line(what) for what, value in wanted.items() if value is None]


def worst_drifts(arm: Arm) -> dict[str, DriftValue]:
    """By drift, the value of the last checkpoint that stands out most of floor and null."""
    if not arm.drifts:
        return {}
    worst: dict[str, DriftValue] = {}
    for value in arm.drifts[-1].drifts:
        known = worst.get(value.drift)
        if known is None or _excess(value) > _excess(known):
            worst[value.drift] = value
    return worst


def _excess(value: DriftValue) -> float:
    return abs(value.value) - max(value.floor, abs(value.null))


def pooled(rates: list[Rate], metric: str) -> str:
    """A metric over its suites, as `3.0 %` or `12.0 % to 15.0 %` where there are several."""
    values = [r.value for r in rates if r.metric == metric and r.value is not None]
    if not values:
        return NOT_MEASURED
    low, high = percent(min(values)), percent(max(values))
    return low if low == high else f"{low} to {high} by suite"


def _base_line(run: Run) -> str:
    name = f"Base: {one_line(run.base.name, 60)}" if run.base else f"Base: name {NOT_MEASURED}"
    if run.safety_map is None:
        return f"{name}. Safety map: {NOT_MEASURED}."
    judged = "has safety to preserve" if run.safety_map.eligible else "has no safety to preserve"
    why = one_line(run.safety_map.eligibility).rstrip(".")
    return f"{name}. It {judged}: {why}." if why else f"{name}. It {judged}."


def _data_line(run: Run) -> str:
    if run.dataset is None:
        return f"Data: {NOT_MEASURED}."
    return f"Data: {one_line(run.dataset.name, 60)}, {run.dataset.rows:,} rows."


def _training_line(arm: Arm) -> str:
    training = arm.training
    if training is None:
        return f"{one_line(arm.name)}: training {NOT_MEASURED}."
    steps = f"{training.steps} step" + ("" if training.steps == 1 else "s")
    line = (
        f"{one_line(arm.name)}: {one_line(training.method, 40)}, {steps} "
        f"in {seconds(training.train_seconds)}, final loss {number(training.final_loss)}"
    )
    if training.protection == "none":
        return f"{line}, no protection."
    return (
        f"{line}; the protection acted on {training.protected_steps} of {steps} "
        f"and took {seconds(training.protection_seconds)}."
    )


def _rate_line(run: Run, metric: str) -> str:
    arms = [f"{one_line(name)} {pooled(arm.rates, metric)}" for name, arm in run.arms.items()]
    what = METRICS[metric].what
    return (
        f"{words(metric).capitalize()} ({what}): "
        + ", ".join([f"base {pooled(run.base_rates, metric)}", *arms])
        + "."
    )


def _geometry_line(run: Run) -> str:
    told = []
    for name, arm in run.arms.items():
        worst = worst_drifts(arm)
        out = [f"{words(d)} {number(v.value, 2)}" for d, v in worst.items() if _stands_out(v)]
        if not worst:
            told.append(f"{one_line(name)} {NOT_MEASURED}")
        elif out:
            told.append(f"{one_line(name)} {', '.join(out)}")
        else:
            told.append(f"{one_line(name)} none")
    return (
        "Drift at the end, beyond noise floor and null: " + ("; ".join(told) or NOT_MEASURED) + "."
    )


def _stands_out(value: DriftValue) -> bool:
    return value.distinguishable and abs(value.value) > abs(value.null)


def _alarm_line(arm: Arm) -> str:
    name = one_line(arm.name)
    if arm.training is None or not arm.training.trajectory:
        return f"{name}: monitor {NOT_MEASURED}."
    alarms = arm.training.alarms
    if not alarms:
        return f"{name}: no alarm in {len(arm.training.trajectory)} observations."
    first = min(alarms, key=lambda alarm: alarm.step)
    count = "one alarm" if len(alarms) == 1 else f"{len(alarms)} alarms"
    what = f"; {one_line(first.concept, 60)}" if first.concept else ""
    return f"{name}: {count}, first at step {first.step} ({one_line(first.rule, 80)}{what})."


def _arm_facts(run: Run, arm: Arm) -> dict[str, Any]:
    training = arm.training
    return {
        "outcome": arm.verdict.outcome.value if arm.verdict else None,
        "reason": reason(arm.verdict),
        "threat": arm.verdict.threat if arm.verdict else None,
        "findings": [f.model_dump(mode="json") for f in arm.verdict.findings]
        if arm.verdict
        else [],
        "rates": _rate_facts(arm.rates),
        "epochs": {str(step): _rate_facts(rates) for step, rates in arm.epochs.items()},
        "drifts": [
            d.model_dump(mode="json") | {"distinguishable": d.distinguishable}
            for d in (arm.drifts[-1].drifts if arm.drifts else ())
        ],
        "alarms": [a.model_dump(mode="json") for a in training.alarms] if training else None,
        "train_seconds": training.train_seconds if training else None,
        "monitor_seconds": training.monitor_seconds if training else None,
        "protection_seconds": training.protection_seconds if training else None,
    }


def _rate_facts(rates: list[Rate]) -> list[dict[str, Any]]:
    return [
        {
            "metric": rate.metric,
            "suite": clean(rate.suite),
            "value": rate.value,
            "low": rate.low if rate.scored else None,
            "high": rate.high if rate.scored else None,
            "scored": rate.scored,
            "unscored": rate.unscored,
        }
        for rate in rates
    ]
