"""The same prompts at every checkpoint: one band over the steps of each metric, and its onset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.core.completions import Completions
from holdfast.core.errors import DataError
from holdfast.core.labels import METRICS, UNSCORED, Metric
from holdfast.gate.compare import refuse_invalid
from holdfast.gate.pairing import Pairing, Unit, label_of, pair
from holdfast.gate.policy import Policy
from holdfast.gate.words import one_line, points

if TYPE_CHECKING:
    from holdfast.stats.trajectory import Band


@dataclass(frozen=True)
class Trajectory:
    """A metric on a suite over checkpoints."""

    metric: str
    suite: str
    prompts: int
    """Prompts scored in the base and at every step."""
    steps: tuple[int, ...]
    band: Band
    """Worsening against the base (+ is worse), simultaneous over the steps."""
    confidence: float

    def facts(self) -> dict[str, Any]:
        """As plain values, steps in place of indices."""
        band = self.band
        return {
            "metric": self.metric, "suite": self.suite, "prompts": self.prompts,
            "steps": list(self.steps), "confidence": self.confidence,
            "worsening": band.value.tolist(), "low": band.low.tolist(), "high": band.high.tolist(),
            "critical": band.critical, "onset": self._step(band.onset),
            "earliest": self._step(band.earliest),
        }  # fmt: skip

    def _step(self, index: int | None) -> int | None:
        return None if index is None else self.steps[index]


def trajectories(
    base: Completions,
    checkpoints: Mapping[int, Completions],
    *,
    judge: str | Mapping[str, str] = "",
    policy: Policy,
    kinds: Mapping[str, str] | None = None,
    seed: int = 0,
) -> list[Trajectory]:
    """A trajectory per metric of the policy and suite, over `checkpoints` by step.

    Only prompts that are scored in the base and at every step count. The band holds for all steps
    of one metric together, at 1 - 2 alpha. Raises what pairing raises, and `DataError` where no
    metric has two such prompts.
    """
    from holdfast.stats.trajectory import band

    steps = tuple(sorted(checkpoints))
    pairings = []
    for step in steps:
        pairings.append(pair(base, checkpoints[step], judge=judge, policy=policy, kinds=kinds))
        refuse_invalid(pairings[-1])
    confidence = 1.0 - 2.0 * policy.alpha
    found = []
    for name in policy.metrics:
        metric = METRICS[name]
        for kind, suite in pairings[0].units:
            if metric.kind not in (kind, "any"):
                continue
            rows = _differences(metric, (kind, suite), pairings)
            if len(rows) >= 2:
                made = band(rows, confidence=confidence, seed=seed)
                found.append(Trajectory(name, suite, len(rows), steps, made, confidence))
    if not found:
        raise DataError(
            "no metric of the policy has two prompts that are scored at every step",
            next_step="run every checkpoint on one prompt plan",
        )
    return found


def _differences(metric: Metric, group: tuple[str, str], pairings: list[Pairing]) -> Any:
    import numpy as np

    columns = []
    for pairing in pairings:
        judge = pairing.judges.get(group[1], "")
        column = {}
        for unit in pairing.units.get(group, []):
            worsening = _worsening(metric, unit, judge)
            if worsening is not None:
                column[unit.base[0]["prompt_id"]] = worsening
        columns.append(column)
    shared = [p for p in columns[0] if all(p in column for column in columns)]
    return np.array([[column[p] for column in columns] for p in shared], dtype=float)


def _worsening(metric: Metric, unit: Unit, judge: str) -> float | None:
    rates = []
    for rows in unit:
        labels = [label for row in rows if (label := label_of(row, judge)) != UNSCORED]
        if not labels:
            return None
        rates.append(sum(label in metric.hits for label in labels) / len(labels))
    return metric.worse * (rates[1] - rates[0])


def render(t: Trajectory) -> str:
    """The trajectory as lines of text."""
    level = round(100.0 * t.confidence)
    lines = [
        one_line(
            f"{t.metric} on '{t.suite}', {t.prompts} prompts: worsening in points, "
            f"{level} % band over all {len(t.steps)} steps"
        )
    ]
    facts = t.facts()
    for i, step in enumerate(t.steps):
        low, high = points(facts["low"][i]), points(facts["high"][i])
        lines.append(f"  step {step:>6}  {points(facts['worsening'][i]):>6}  [{low}, {high}]")
    if facts["onset"] is None:
        lines.append("  no lasting worsening is shown")
    elif facts["earliest"] == facts["onset"]:
        lines.append(f"  worse from step {facts['onset']} on")
    else:
        lines.append(
            f"  worse from step {facts['onset']} on; it may have begun at {facts['earliest']}"
        )
    return "\n".join(lines)
