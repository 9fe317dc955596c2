"""The forecast beside what happened, and the subspace turning: from records to page."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from holdfast.core.records import Forecast, MetricForecast, Variant
from holdfast.report import forecasts, turning
from holdfast.report.figures import draw_fan
from holdfast.report.html import render
from holdfast.report.load import load
from holdfast.report.text import percent
from holdfast.report.turning import Fan, Turned


def _told(metric: str, expected: float, low: float, high: float) -> MetricForecast:
    return MetricForecast(
        metric=metric, about="a change", expected=expected, low=low, high=high, confidence=0.9,
        mean=0.3,
    )  # fmt: skip


def _forecast(*, calibrated: bool = True, variants: tuple[Variant, ...] = ()) -> Forecast:
    return Forecast(
        forecasts=(
            _told("harmful_compliance", 0.02, 0.0, 0.04), _told("refusal_margin", 0.9, 0.8, 1.0),
            _told("truthfulness", 0.5, 0.4, 0.6),
        ),
        variants=variants, signals={"canary": -1.0}, calibrated=calibrated, fitted_on=185,
    )  # fmt: skip


def test_a_run_is_shown_beside_its_forecast(
    build_run: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = build_run(tmp_path / "run")
    assert load(folder).forecast is None
    assert "Forecast beside" not in render(load(folder))
    _forecast().save(folder / "forecast.json")
    run = load(folder)
    assert run.forecast is not None
    table = forecasts.beside(run, run.forecast)
    rows = {row[1]: row for row in table.rows}
    arm = run.arms["plain"]
    assert arm.training is not None
    path = arm.training.trajectory
    lost = (path[0].margin - path[-1].margin) / (2 * max(1.0, abs(path[0].margin)))
    assert rows["refusal margin"][4] == percent(lost)
    # Two suites measure it: the change is their mean, and it left the interval.
    assert rows["harmful compliance"][5] == "no"
    assert rows["truthfulness"][4:] == ["not measured", "not measured"]
    assert "Forecast beside what happened" in render(run)


def test_a_broken_forecast_is_named_and_breaks_nothing(
    build_run: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = build_run(tmp_path / "run")
    (folder / "forecast.json").write_text('{"forecasts": "<script>"}')
    run = load(folder)
    assert run.forecast is None
    assert any("forecast.json" in problem for problem in run.problems)
    assert "<script>" not in render(run)


def _said(found: Forecast, margin: float) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    for part in forecasts.terminal(found, margin=margin):
        console.print(part)
    return console.export_text()


@pytest.mark.parametrize(
    ("high", "expected", "word", "advice"),
    [
        (0.04, 0.01, "yes", "1 of 1 settings keep"),
        (0.40, 0.01, "perhaps", "No setting keeps"),
        (0.40, 0.20, "no", "safest tried is rank"),
    ],
)
def test_settings_are_marked_by_the_whole_interval(high, expected, word, advice) -> None:
    variant = Variant(
        settings={"rank": 8.0, "replay": 0.1},
        forecasts=(_told("harmful_compliance", expected, 0.0, high),),
    )
    text = _said(_forecast(variants=(variant,)), 0.05)
    row = next(line for line in text.splitlines() if "0.100" in line and "%" in line)
    assert row.split()[-1] == word
    assert advice in " ".join(text.split())
    with pytest.raises(KeyError):
        variant.of("refusal_margin")


def test_a_base_that_was_never_fitted_promises_nothing() -> None:
    assert "no promise" in " ".join(_said(_forecast(calibrated=False), 0.05).split())
    assert "hold 90 % of the outcomes" in " ".join(_said(_forecast(), 0.05).split())


def test_the_fan_holds_the_records_angles_and_starts_flat(run_folder: Path) -> None:
    run = load(run_folder)
    assert turning.fans(run) == []  # no record names angles
    arm = run.arms["plain"]
    arm.drifts = [
        report.model_copy(
            update={
                "drifts": tuple(
                    d.model_copy(update={"extras": {
                        "k": 2.0, "angle_2_degrees": 2.0 * report.step, "angle_1_degrees": 3.0,
                    }})
                    for d in report.drifts
                )
            }
        )
        for report in arm.drifts
    ]  # fmt: skip
    made = turning.fans(run)
    assert [fan.site for fan in made] == ["resid_post.1", "resid_post.2"]
    (turned,) = made[0].arms
    assert turned.steps == [0, 20, 40, 60]
    assert turned.angles == [[0.0, 3.0, 3.0, 3.0], [0.0, 40.0, 80.0, 120.0]]
    assert "The safety subspace at resid_post.1 turning" in render(run)


def test_a_fan_is_drawn_and_told_in_words() -> None:
    fan = Fan("resid_post.1", [
        Turned("plain", [0, 20, 40], [[0.0, 5.0, 12.0], [0.0, 40.0, 88.0]]),
        Turned("<b>odd</b>", [0, 40], [[0.0, 1.0]]),
    ])  # fmt: skip
    svg = draw_fan(fan, "turning-0", ["plain", "<b>odd</b>"])
    ElementTree.fromstring(str(svg).replace("xlink:href", "href"))
    assert "<b>" not in svg
    assert "12, 88 degrees at step 40" in fan.description
    assert 'id="turning-0-title"' in svg
