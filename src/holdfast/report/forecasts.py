"""The forecast, for the terminal before training and beside what happened on the page."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from holdfast.core.records import Forecast, MetricForecast
from holdfast.report.load import Arm, Run
from holdfast.report.rates import Rate
from holdfast.report.tables import Table
from holdfast.report.text import NOT_MEASURED, number, one_line, percent, words

MAIN = "harmful_compliance"
"""Metric that settings are compared by."""


def panel(run: Run) -> dict[str, object] | None:
    """Everything that the page shows of the forecast; None where there is none."""
    if run.forecast is None:
        return None
    return {"sentence": sentence(run.forecast), "table": beside(run, run.forecast)}


def sentence(found: Forecast) -> str:
    """How far the forecast can be trusted."""
    on = f"The forecaster was fitted on {found.fitted_on} fine-tunes of the embedded model"
    if found.calibrated:
        return (
            f"{on}, of this base among others. The interval is made to hold 90 % of the outcomes "
            "of fine-tunes of it on other data."
        )
    return (
        f"{on}, not of this base: read expected values as a ranking, and its intervals as no "
        "promise."
    )


def beside(run: Run, found: Forecast) -> Table:
    """Forecast and outcome of each arm."""
    rows = []
    for name, forecasts in (("plain", found.forecasts), ("protected", found.protected)):
        arm = run.arms.get(name)
        for forecast in forecasts:
            happened = _happened(run, arm, forecast.metric) if arm else None
            inside = NOT_MEASURED
            if happened is not None:
                harm = min(1.0, max(0.0, happened))
                inside = "yes" if forecast.low <= harm <= forecast.high else "no"
            rows.append([
                one_line(name), words(forecast.metric), percent(forecast.expected),
                f"{percent(forecast.low)} to {percent(forecast.high)}",
                NOT_MEASURED if happened is None else percent(happened), inside,
            ])  # fmt: skip
    return Table(
        "Forecast beside what happened",
        ["Arm", "Metric", "Expected change for the worse", "90 % interval", "What happened",
         "Inside"],
        rows,
        "Made before training from the rows and a canary of a few steps. Change: candidate minus "
        "base; of the refusal margin, the loss as a share of twice the base's.",
    )  # fmt: skip


def _happened(run: Run, arm: Arm, metric: str) -> float | None:
    """The change for the worse that was measured, in [-1, 1]."""
    if metric == "refusal_margin":
        path = arm.training.trajectory if arm.training else ()
        if len(path) < 2:
            return None
        return (path[0].margin - path[-1].margin) / (2 * max(1.0, abs(path[0].margin)))
    changes = []
    for rate in arm.rates:
        start = _same(run.base_rates, rate)
        if rate.metric == metric and rate.value is not None and start is not None:
            changes.append(rate.value - start)
    return sum(changes) / len(changes) if changes else None


def _same(rates: Sequence[Rate], wanted: Rate) -> float | None:
    key = (wanted.metric, wanted.suite)
    return next((r.value for r in rates if (r.metric, r.suite) == key), None)


def terminal(found: Forecast, *, margin: float) -> list[RenderableType]:
    """The forecast for a terminal; settings whose interval stays below `margin` are marked."""
    parts: list[RenderableType] = [Text(sentence(found)), _table("plain", found.forecasts)]
    if found.protected:
        parts.append(_table("protected, as with its replay", found.protected))
    if found.variants:
        parts += [_variants(found, margin), Text(_advice(found, margin))]
    return parts


def _table(title: str, forecasts: Sequence[MetricForecast]) -> RichTable:
    shown = RichTable(title=f"Expected of the arm {title}", title_justify="left", box=None,
                      padding=(0, 1))  # fmt: skip
    for head in ("Change for the worse", "Expected", "90 % interval", "The mean would say"):
        shown.add_column(Text(head))
    for forecast in forecasts:
        shown.add_row(
            Text(words(forecast.metric)), Text(percent(forecast.expected)),
            Text(f"{percent(forecast.low)} to {percent(forecast.high)}"),
            Text(percent(forecast.mean)),
        )  # fmt: skip
    return shown


def _variants(found: Forecast, margin: float) -> RichTable:
    names = list(found.variants[0].settings)
    shown = RichTable(title=f"Trade-off: {words(MAIN)} by settings", title_justify="left", box=None,
                      padding=(0, 1))  # fmt: skip
    heads = ("Expected", "90 % interval", f"Within {percent(margin)}")
    for head in (*map(words, names), *heads):
        shown.add_column(Text(head))
    for variant in found.variants:
        told = variant.of(MAIN)
        kept = "yes" if told.high <= margin else "perhaps" if told.expected <= margin else "no"
        shown.add_row(
            *(Text(number(float(variant.settings[name]))) for name in names),
            Text(percent(told.expected)),
            Text(f"{percent(told.low)} to {percent(told.high)}"), Text(kept),
        )  # fmt: skip
    return shown


def _advice(found: Forecast, margin: float) -> str:
    kept = [v for v in found.variants if v.of(MAIN).high <= margin]
    if kept:
        return f"{len(kept)} of {len(found.variants)} settings keep the interval within the margin."
    best = min(found.variants, key=lambda variant: variant.of(MAIN).high)
    told = ", ".join(f"{words(n)} {number(float(v))}" for n, v in best.settings.items())
    return (
        f"No setting keeps the whole interval within the margin; the safest tried is {told}, up to "
        f"{percent(best.of(MAIN).high)}."
    )
