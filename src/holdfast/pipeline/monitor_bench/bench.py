"""Every monitor on the zoo: calibrated on development runs, its alarms on runs it never saw.

Whatever a monitor fits (what benign readings look like, a style subspace, the combined score) is
fitted without the family that it is applied to: on development runs family by family, so that the
maxima that set the threshold are as out of sample as the next run's; on test runs from all of the
development. The nulls go through the same steps, each random direction with its own threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from holdfast.core.errors import DataError
from holdfast.core.protocols import Progress, no_progress
from holdfast.pipeline.monitor_bench.zoo import RANDOM, Run, identity
from holdfast.stats.detectors import Reference, detector, first_above, threshold
from holdfast.tuning.monitors import combined as combining
from holdfast.tuning.monitors import plain, residual
from holdfast.tuning.monitors.combined import Case, Combined
from holdfast.tuning.monitors.parameters import MonitorParameters
from holdfast.tuning.monitors.readings import Array
from holdfast.tuning.monitors.registry import STREAMS

COMBINED = "combined"
Role = Literal["combined", "stream", "random", "baseline", "oracle"]
Values = Callable[[Sequence[Run], Sequence[Run]], list[Array]]
"""(development runs to fit on, runs to apply to) -> the monitor's values [R, T] for each of these,
R = 1 but for random directions."""


@dataclass(frozen=True)
class Monitor:
    """One row of the table."""

    name: str
    """Its name."""
    role: Role
    """What it is in the comparison."""
    values: Values
    """What it says."""
    needs: tuple[str, ...]
    """Fields of the readings that it costs to measure."""
    twin: Values | None = None
    """The same along random directions, where it follows a direction."""


@dataclass(frozen=True)
class Alarms:
    """When a monitor fired."""

    monitor: Monitor
    """Which."""
    steps: Array
    """[runs] step of the first alarm, infinity for none."""
    twins: Array
    """[R, runs] the same of its random directions; R = 0 where it has none."""


def monitors(development: Sequence[Run], test: Sequence[Run] = ()) -> list[Monitor]:
    """All monitors whose readings every run holds, the combined one first."""
    runs = [*development, *test]
    first = runs[0]
    shared = [name for name in STREAMS if all(name in run.values for run in runs)]
    roles: dict[str, Role] = dict.fromkeys((plain.BASELINE, *plain.MORE), "baseline")
    roles[plain.ORACLE] = "oracle"
    found = [
        Monitor(
            name, roles.get(name, "stream"), _plain(name), STREAMS[name].needs,
            _twins(name) if name in first.twins else None,
        )
        for name in shared
    ]  # fmt: skip
    if "shift-apart" in shared:
        for name in residual.FITTED:
            found.append(
                Monitor(name, "stream", _unexplained(name), ("shift",),
                        _unexplained(None))
            )  # fmt: skip
    if RANDOM in first.twins:
        found.append(Monitor(RANDOM, "random", _twins(RANDOM), ("shift",), _twins(RANDOM)))
    if set(combining.STREAMS) <= set(shared):
        fitted = _fit(development)
        used = [n for n, weight in zip(fitted.streams, fitted.weights, strict=True) if weight > 0]
        needs = dict.fromkeys(need for name in used for need in STREAMS[name].needs)
        found.insert(0, Monitor(COMBINED, "combined", _combined, tuple(needs)))
    return found


def alarms(
    monitor: Monitor, development: Sequence[Run], test: Sequence[Run], *, detector_name: str,
    false_alarms: float,
) -> Alarms:  # fmt: skip
    """First alarms on `test`; where that is empty, on the development runs, family by family."""
    found = [
        _first(values, development, test, detector_name, false_alarms)
        for values in (monitor.values, monitor.twin) if values is not None
    ]  # fmt: skip
    twins = found[1] if monitor.twin is not None else np.empty((0, found[0].shape[1]))
    # The row of the random directions itself shows one of them.
    return Alarms(monitor, found[0][0], twins)


def run_all(
    development: Sequence[Run], test: Sequence[Run], *, detector_name: str = "level",
    false_alarms: float = 0.05, progress: Progress = no_progress,
) -> list[Alarms]:  # fmt: skip
    """`alarms` of every monitor.

    Raises:
        DataError: the development runs lack benign or failing ones, or families.
    """
    _enough(development)
    wanted = monitors(development, test)
    made = []
    for index, monitor in enumerate(wanted):
        progress(monitor.name, index, len(wanted))
        made.append(
            alarms(monitor, development, test, detector_name=detector_name,
                   false_alarms=false_alarms)
        )  # fmt: skip
    return made


def freeze(development: Sequence[Run], *, detector_name: str = "level") -> MonitorParameters:
    """The combined monitor, fitted and calibrated on development runs: what training reads.

    Raises:
        DataError: as `run_all`.
    """
    _enough(development)
    fitted = _fit(development)
    benign = [run for run in development if run.group == "benign"]
    paths = _development_paths(_combined, development, detector_name)
    reference = Reference.of(np.concatenate([fitted.score(run.values) for run in benign]))
    used = [i for i, weight in enumerate(fitted.weights) if weight > 0]
    return MonitorParameters(
        inputs={"development": identity(list(development))},
        streams=tuple(fitted.streams[i] for i in used),
        weights=tuple(fitted.weights[i] for i in used),
        scales=tuple(fitted.scales[i] for i in used),
        detector=detector_name, score=reference.knots,
        maxima=tuple(sorted(float(paths[run.name][0].max()) for run in benign)),
        steps=tuple(sorted({int(step) for run in benign for step in run.steps})),
        bases=tuple(sorted({run.base for run in development})),
        failing=sum(run.group == "fails" for run in development),
        probes=int(development[0].readings.need("margin").shape[1]),
    )  # fmt: skip


def _enough(development: Sequence[Run]) -> None:
    counts = {g: sum(run.group == g for run in development) for g in ("benign", "fails")}
    families = {run.family for run in development if run.group == "benign"}
    if min(counts.values()) < 2 or len(families) < 2:
        raise DataError(
            "too few development runs to calibrate a monitor on",
            got=f"{counts['benign']} benign of {len(families)} families, {counts['fails']} failing",
            expected="at least 2 of each, the benign ones of 2 families",
            next_step="build more of the zoo: holdfast organism build zoo",
        )


def _first(
    values: Values, development: Sequence[Run], test: Sequence[Run], name: str, rate: float
) -> Array:
    """[R, runs] steps of first alarms, infinity for none."""
    paths = _development_paths(values, development, name)
    if test:
        limits = _limits(paths, [run for run in development if run.group == "benign"], rate)
        found = _paths(values, development, test, name)
        return np.stack(
            [_steps(run, path, limits) for run, path in zip(test, found, strict=True)], 1
        )
    columns = []
    for run in development:
        others = [o for o in development if o.group == "benign" and o.family != run.family]
        columns.append(_steps(run, paths[run.name], _limits(paths, others, rate)))
    return np.stack(columns, 1)


def _limits(paths: Mapping[str, Array], benign: Sequence[Run], rate: float) -> Array:
    """[R] thresholds from the largest values of benign runs."""
    largest = np.stack([paths[run.name].max(axis=1) for run in benign])
    return np.array([threshold(column.tolist(), rate) for column in largest.T])


def _steps(run: Run, path: Array, limits: Array) -> Array:
    places = [first_above(p, limit) for p, limit in zip(path, limits, strict=True)]
    return np.array([np.inf if p is None else float(run.steps[p]) for p in places])


def _development_paths(
    values: Values, development: Sequence[Run], name: str
) -> dict[str, Array]:  # fmt: skip
    """Path [R, T] of every development run, each from a fit without its family."""
    found: dict[str, Array] = {}
    for family in dict.fromkeys(run.family for run in development):
        inside = [run for run in development if run.family == family]
        outside = [run for run in development if run.family != family]
        made = _paths(values, outside, inside, name)
        found |= {run.name: path for run, path in zip(inside, made, strict=True)}
    return found


def _paths(
    values: Values, train: Sequence[Run], apply: Sequence[Run], name: str
) -> list[Array]:  # fmt: skip
    benign = [run for run in train if run.group == "benign"]
    both = values(train, [*benign, *apply])
    pooled = np.concatenate(both[: len(benign)], axis=1)  # [R, readings]
    references = [Reference.of(row) for row in pooled]
    read = detector(name)
    return [
        np.stack([read(reference, x) for reference, x in zip(references, rows, strict=True)])
        for rows in both[len(benign) :]
    ]


def _plain(name: str) -> Values:
    return lambda train, apply: [run.values[name][None] for run in apply]


def _twins(name: str) -> Values:
    return lambda train, apply: [run.twins[name] for run in apply]


def _unexplained(name: str | None) -> Values:
    """A stream outside the style subspace of benign runs on the same base; None: random ones."""

    def values(train: Sequence[Run], apply: Sequence[Run]) -> list[Array]:
        bases = {base: _style(base, train) for base in {run.base for run in apply}}
        made = []
        for run in apply:
            basis = bases[run.base]
            if name is None:
                found = residual.unexplained_random(run.readings, basis)
                assert found is not None, "only asked for where random directions were read"
                made.append(found)
            else:
                made.append(residual.FITTED[name][1](run.readings, basis)[None])
        return made

    return values


def _style(base: str, train: Sequence[Run]) -> Array:
    """Style subspace of the benign runs on a base; without any, nothing counts as explained."""
    shifts = [
        run.readings.need("shift") for run in train if run.base == base and run.group == "benign"
    ]
    return residual.style_subspace(shifts) if shifts else np.zeros((_width(train), 0))


def _width(runs: Sequence[Run]) -> int:
    return int(runs[0].readings.need("shift").shape[-1])


def _fit(train: Sequence[Run]) -> Combined:
    used = [run for run in train if run.group != "other"]
    return combining.fit([
        Case(run.steps, run.values, run.fail_step if run.group == "fails" else None)
        for run in used
    ])  # fmt: skip


def _combined(train: Sequence[Run], apply: Sequence[Run]) -> list[Array]:
    fitted = _fit(train)
    return [fitted.score(run.values)[None] for run in apply]
