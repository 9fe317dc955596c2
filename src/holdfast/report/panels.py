"""What each figure shows: pure data taken from the records, one `Panel` per figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from holdfast.core.labels import METRICS
from holdfast.core.records import DriftValue, MonitorPoint
from holdfast.report.load import Arm, Run
from holdfast.report.rates import Rate
from holdfast.report.text import number, one_line, percent, words

MAX_PANELS = 24
"""Figures of one group beyond this number are left out, and the report says so."""
MAX_POINTS = 400
"""A line keeps at most about this many points; its alarms and its ends are kept."""

DRIFT_TITLES = {
    "direction_collapse": "Direction collapse",
    "interference_growth": "Interference growth",
    "subspace_rotation": "Subspace rotation",
}
LATENTS = {
    "latents-lost": ("Harmful latents lost", "Share of what the SAE's harmful latents show on "
                     "harmful prompts in the base that is gone."),
    "latents-risen": ("Harmful latents on harmless prompts", "Their rise there, as a share of what "
                      "the base shows on harmful prompts."),
}  # fmt: skip


@dataclass(frozen=True)
class Series:
    """One arm's points; `low` and `high` are empty where no interval was measured."""

    arm: str
    steps: list[int]
    values: list[float]
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Panel:
    """One figure: axes, lines of the monitor, points of the checkpoints, reference levels."""

    title: str
    note: str
    y_label: str
    lines: list[Series] = field(default_factory=list)
    points: list[Series] = field(default_factory=list)
    alarms: dict[str, list[int]] = field(default_factory=dict)
    """Steps at which the monitor's alarm fired, by arm."""
    floor: float | None = None
    null: float | None = None
    base: tuple[float, float, float] | None = None
    """Rate of the base with its interval."""
    fires: float | None = None
    """Level above which an alarm fires."""
    share: bool = False
    """Whether the axis is a share, drawn from 0 to 100 %."""

    @property
    def description(self) -> str:
        """The figure in words, for those who do not see it."""
        show = percent if self.share else number
        told = [
            f"{one_line(s.arm)} from {show(s.values[0])} at step {s.steps[0]} "
            f"to {show(s.values[-1])} at step {s.steps[-1]}"
            for s in (self.points or self.lines)
        ]
        if self.base:
            told.append(f"base {show(self.base[0])}")
        if self.floor is not None:
            told.append(f"noise floor {show(self.floor)}")
        if self.null is not None:
            told.append(f"null {show(self.null)}")
        if self.fires is not None:
            told.append(f"fires above {show(self.fires)}")
        told += [f"{one_line(a)}: alarm at step {s[0]}" for a, s in self.alarms.items() if s]
        return f"{self.title} over optimizer steps. " + "; ".join(told) + "."


def monitor_panels(run: Run) -> list[Panel]:
    """Refusal margin, share of negative margins and first-token KL, as the monitor saw them."""
    shown: list[tuple[str, str, str, bool, Callable[[MonitorPoint], float]]] = [
        ("Refusal margin", "Below zero, the model would rather comply.", "nats", False,
         lambda p: p.margin),
        ("Share of negative margins", "Probe prompts on which the model would rather comply.",
         "share of probe prompts", True, lambda p: p.negative_share),
        ("First-token KL", "Distance from the base over the first five positions; says that "
         "something changed, not that safety is lost.", "nats", False, lambda p: p.first_token_kl),
    ]  # fmt: skip
    panels = []
    for title, note, y_label, share, take in shown:
        lines = _lines(run, take)
        if lines:
            panels.append(
                Panel(title, note, y_label, lines=lines, alarms=_alarms(run), share=share)
            )
    scored = _lines(run, _score)
    if scored:
        panels.append(
            Panel(
                "Combined monitor", "Its statistic as a share of the value at which it fires; that "
                "value holds its false-alarm rate per run.", "share of threshold", lines=scored,
                alarms=_alarms(run), fires=1.0,
            )
        )  # fmt: skip
    for stream, (title, note) in LATENTS.items():
        lines = _lines(run, _latent(stream))
        if lines:
            panels.append(
                Panel(title, note, "share of the base's", lines=lines, alarms=_alarms(run))
            )
    return panels


def _score(point: MonitorPoint) -> float | None:
    limit = point.score_threshold
    return point.score / limit if point.score is not None and limit else None


def _latent(stream: str) -> Callable[[MonitorPoint], float | None]:
    return lambda point: point.latents.get(stream)


def _lines(run: Run, take: Callable[[MonitorPoint], float | None]) -> list[Series]:
    """A line for every arm in which some look measured what `take` gives."""
    return [line for arm in run.arms.values() if (line := _line(arm, take))]


def drift_panels(run: Run) -> list[Panel]:
    """One panel for each drift at each site: the monitor's line, the checkpoints with intervals."""
    names: dict[tuple[str, str], None] = {}
    for arm in run.arms.values():
        for report in arm.drifts:
            names |= {(d.drift, d.site): None for d in report.drifts}
        for point in arm.training.trajectory if arm.training else ():
            split = (name.partition("@") for name in point.drifts)
            names |= {(drift, site): None for drift, _, site in split}
    return [_drift_panel(run, drift, site) for drift, site in sorted(names)]


def rate_panels(run: Run) -> list[Panel]:
    """One panel for each behavioural rate on the epoch plan, with Wilson intervals."""
    names = dict.fromkeys(
        (rate.metric, rate.suite)
        for arm in run.arms.values()
        for rates in arm.epochs.values()
        for rate in rates
        if rate.scored
    )
    order = {name: place for place, name in enumerate(METRICS)}
    return [
        _rate_panel(run, metric, suite)
        for metric, suite in sorted(names, key=lambda key: (order[key[0]], key[1]))
    ]


def _line(arm: Arm, take: Callable[[MonitorPoint], float | None]) -> Series | None:
    trajectory = arm.training.trajectory if arm.training else ()
    seen = [(p, value) for p in trajectory if (value := take(p)) is not None]
    if not seen:
        return None
    stride = max(1, len(seen) // MAX_POINTS)
    last = len(seen) - 1
    kept = [(p, v) for i, (p, v) in enumerate(seen) if i % stride == 0 or i == last or p.alarm]
    return Series(arm.name, [p.step for p, _ in kept], [v for _, v in kept])


def _alarms(run: Run) -> dict[str, list[int]]:
    return {
        name: sorted({alarm.step for alarm in arm.training.alarms})
        for name, arm in run.arms.items()
        if arm.training and arm.training.alarms
    }


def _drift_panel(run: Run, drift: str, site: str) -> Panel:
    points, seen = [], list[DriftValue]()
    lines = _lines(run, lambda point: point.drifts.get(f"{drift}@{site}"))
    for arm in run.arms.values():
        measured = [
            (r.step, d) for r in arm.drifts for d in r.drifts if (d.drift, d.site) == (drift, site)
        ]
        if measured:
            values = [d for _, d in measured]
            seen += values
            points.append(
                Series(
                    arm.name,
                    [step for step, _ in measured],
                    [d.value for d in values],
                    [d.low for d in values],
                    [d.high for d in values],
                )
            )
    floor = run.safety_map.floors.get(f"{drift}@{site}") if run.safety_map else None
    return Panel(
        f"{DRIFT_TITLES.get(drift, words(drift))} at {one_line(site, 40)}",
        "Line: monitor, few prompts. Markers: checkpoints, all prompts, with interval.",
        "drift (0 is no change)",
        lines=lines,
        points=points,
        alarms=_alarms(run),
        floor=max((d.floor for d in seen), default=floor),
        null=max((d.null for d in seen), default=None),
    )


def _rate_panel(run: Run, metric: str, suite: str) -> Panel:
    start = _pick(run.base_epoch_rates, metric, suite)
    series = []
    for arm in run.arms.values():
        found = [(step, _pick(rates, metric, suite)) for step, rates in arm.epochs.items()]
        measured = [(step, rate) for step, rate in found if rate]
        if start:
            measured.insert(0, (0, start))
        if len(measured) > bool(start):
            series.append(
                Series(
                    arm.name,
                    [step for step, _ in measured],
                    [rate.value or 0.0 for _, rate in measured],
                    [rate.low for _, rate in measured],
                    [rate.high for _, rate in measured],
                )
            )
    worse = "higher is worse" if METRICS[metric].worse > 0 else "lower is worse"
    return Panel(
        words(metric).capitalize(),
        f"{one_line(suite, 60)}; {worse}. 95 % Wilson intervals.",
        "share of scored answers",
        points=series,
        base=(start.value or 0.0, start.low, start.high) if start else None,
        share=True,
    )


def _pick(rates: list[Rate], metric: str, suite: str) -> Rate | None:
    """The rate of a metric on a suite, where anything was scored."""
    match = (r for r in rates if (r.metric, r.suite) == (metric, suite) and r.scored)
    return next(match, None)
