"""Paired comparisons: one per metric and suite, from labels alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from holdfast.core.completions import Completions
from holdfast.core.errors import InvalidRun, UsageError
from holdfast.core.labels import METRICS, SCORED_KINDS, Metric
from holdfast.core.records import Comparison, Interval, Outcome
from holdfast.gate import audit as audits
from holdfast.gate import evidence
from holdfast.gate.cells import Cells, Tally, count, tally
from holdfast.gate.codes import outcome_of
from holdfast.gate.pairing import Group, Pairing, pair, scored
from holdfast.gate.policy import Policy
from holdfast.stats import audited
from holdfast.stats.intervals import wilson
from holdfast.stats.power import minimum_detectable

POOLED = "all"
"""Suite name of a metric that is measured over all suites together."""


@dataclass(frozen=True)
class Options:
    """How the labels of a pairing are weighed."""

    audit: audits.Audit | None = None
    """Human labels for a sample of both arms."""
    arm: str = "candidate"
    """The candidate's name in the audit."""
    looks: bool = False
    """Whether the files may still grow, so that every test must hold at each look."""


PLAIN = Options()


def compare(
    base: Completions,
    candidate: Completions,
    *,
    judge: str | Mapping[str, str] = "",
    policy: Policy,
    kinds: Mapping[str, str] | None = None,
    allow_identical: bool = False,
    options: Options = PLAIN,
) -> list[Comparison]:
    """Compare two arms on every metric that the policy names and the files measure.

    Raises `InvalidRun` where the pairing cannot be trusted (identical arms, too many lone prompts),
    and everything that `holdfast.gate.pairing.pair` raises.
    """
    pairing = pair(
        base, candidate, judge=judge, policy=policy, kinds=kinds, allow_identical=allow_identical
    )
    refuse_invalid(pairing)
    inputs = {"base": base.digest, "candidate": candidate.digest}
    return comparisons(pairing, policy, inputs=inputs, options=options)


def refuse_invalid(pairing: Pairing) -> None:
    """Raise `InvalidRun` for a pairing that no comparison may rest on."""
    for found in pairing.findings:
        if outcome_of(found) is Outcome.INVALID:
            raise InvalidRun(found.message, next_step="check which model wrote which file")


def comparisons(
    pairing: Pairing, policy: Policy, *, inputs: dict[str, str], options: Options = PLAIN
) -> list[Comparison]:
    """The comparisons of a pairing, in the order of the policy's metrics.

    A suite without one prompt scored in both arms gives none: it was not measured. Raises
    `UsageError` where an audit is to be looked at repeatedly: its interval holds for one look.
    """
    if options.audit and options.looks:
        raise UsageError(
            "an audit and repeated looks", expected="one of them",
            next_step="use --looks while answers come in, and --audit once they are complete",
        )  # fmt: skip
    counted = {
        group: count(units, pairing.judges[group[1]]) for group, units in pairing.units.items()
    }
    made = []
    for name in policy.metrics:
        metric = METRICS[name]
        for suite, groups in _suites_of(pairing, metric).items():
            cells: Cells = Cells()
            for group in groups:
                cells.update(counted[group])
            if any(_scored(pairing, group) for group in groups):
                found = tally(metric, cells)
                made.append(
                    _comparison(metric, suite, found, groups, pairing, policy, inputs, options)
                )
    return made


def second_opinions(
    pairing: Pairing, policy: Policy, *, inputs: dict[str, str], options: Options = PLAIN
) -> list[Comparison]:
    """The comparisons by every further judge of the pairing, without the audit."""
    plain = replace(options, audit=None)
    return [
        comparison
        for name in pairing.further
        for comparison in comparisons(
            replace(pairing, judges=dict.fromkeys(pairing.judges, name)),
            policy, inputs=inputs, options=plain,
        )
    ]  # fmt: skip


def _suites_of(pairing: Pairing, metric: Metric) -> dict[str, list[Group]]:
    if metric.kind == "any":
        return {POOLED: [group for group in pairing.units if group[0] not in SCORED_KINDS]}
    return {group[1]: [group] for group in pairing.units if group[0] == metric.kind}


def _scored(pairing: Pairing, group: Group) -> bool:
    judge = pairing.judges[group[1]]
    return any(scored(u.base, judge) and scored(u.candidate, judge) for u in pairing.units[group])


def _comparison(
    metric: Metric,
    suite: str,
    found: Tally,
    groups: Sequence[Group],
    pairing: Pairing,
    policy: Policy,
    inputs: dict[str, str],
    options: Options,
) -> Comparison:
    confidence = 1.0 - 2.0 * policy.alpha
    margin = policy.metrics[metric.name].margin
    shown, rates, number, worth = _weigh(
        metric, found, groups, pairing, margin, confidence, options
    )
    return Comparison(
        inputs={**inputs, "policy": policy.digest()},
        metric=metric.name,
        suite=suite,
        judge="+".join(sorted({pairing.judges[group[1]] for group in groups})),
        worse=metric.worse,
        table=found.table,
        base_rate=rates[0],
        candidate_rate=rates[1],
        difference=shown.difference,
        margin=margin,
        alpha=policy.alpha,
        p_noninferior=shown.noninferior,
        p_worse=shown.worse,
        p_mcnemar=shown.changed,
        p_equivalent=shown.equivalent,
        minimum_detectable=minimum_detectable(worth, found.discordance, alpha=policy.alpha),
        base_unscored=found.base_unscored,
        candidate_unscored=found.candidate_unscored,
        worst_case=found.worst_case,
        prompts=found.prompts if found.clustered else None,
        audited=number,
        uncorrected=_alone(metric, found, margin, confidence) if number else None,
    )


def _alone(metric: Metric, found: Tally, margin: float, confidence: float) -> Interval:
    design = evidence.by_prompt if found.clustered else evidence.plain
    return design(found, metric.worse, margin, confidence).difference


Weighed = tuple[evidence.Evidence, tuple[Interval, Interval], int, int]
"""Evidence, both rates, audited prompts, independent prompts that the evidence is worth."""


def _weigh(
    metric: Metric,
    found: Tally,
    groups: Sequence[Group],
    pairing: Pairing,
    margin: float,
    confidence: float,
    options: Options,
) -> Weighed:
    rates = wilson(*found.base, confidence), wilson(*found.candidate, confidence)
    if options.audit is not None:
        strata = audits.strata(pairing, groups, options.audit, options.arm)
        if any(stratum.human for stratum in strata.values()):
            return _corrected(metric, found, strata, margin, confidence)
    if options.looks:
        design = evidence.at_any_look
    else:
        design = evidence.by_prompt if found.clustered else evidence.plain
    return design(found, metric.worse, margin, confidence), rates, 0, found.prompts


def _corrected(
    metric: Metric, found: Tally, strata: audits.Strata, margin: float, confidence: float
) -> Weighed:
    def hit(label: str) -> float:
        return float(label in metric.hits)

    prompts = found.prompts
    mean = sum(d * times for d, times in found.differences.items()) / prompts
    e = audited.estimate(mean, audits.valued(strata, lambda a, b: hit(b) - hit(a)))
    sums, of_arm = (found.base, found.candidate), (lambda a, b: hit(a), lambda a, b: hit(b))
    rates = [
        audited.interval(
            audited.estimate(total / n, audits.valued(strata, value), low=0.0), confidence, low=0.0
        )
        for (total, n), value in zip(sums, of_arm, strict=True)
    ]
    shown = evidence.by_audit(e, metric.worse, margin, confidence)
    return shown, (rates[0], rates[1]), e.prompts, int(e.worth)
