"""The table and the picture of the forecast's test."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from holdfast.core.files import write_text
from holdfast.pipeline.forecast.bench import FORECAST, Result, Score
from holdfast.pipeline.forecast.design import Case

_COLUMNS = (
    "metric", "forecaster", "n", "harmed", "Spearman", "attainable", "random, 97.5 %",
    "mean error", "coverage", "width",
)  # fmt: skip


def markdown(result: Result) -> str:
    """The table, and the cost below it."""
    rows = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
    rows += [_row(score) for score in result.scores]
    median, high, most = result.cost
    return "\n".join([
        *rows, "",
        f"A forecast took {median:.1%} of the CPU seconds of the training that it is about "
        f"(median; 90th percentile {high:.1%}, most {most:.1%}).",
    ])  # fmt: skip


def _row(score: Score) -> str:
    name = f"**{score.forecaster}**" if score.forecaster == FORECAST else score.forecaster
    told = (
        score.metric, name, str(score.cases), str(score.harmed), _number(score.rho),
        _number(score.attainable), _number(score.null_high), _number(score.error),
        _number(score.coverage), _number(score.width),
    )  # fmt: skip
    return "| " + " | ".join(told) + " |"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def figure(result: Result, cases: Sequence[Case], path: Path, *, metric: str, title: str) -> None:
    """Draw forecast against outcome, with intervals, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    told = result.forecasts[metric]
    outcome = [case.outcomes[metric] for case in cases]
    with plt.rc_context({"svg.hashsalt": "holdfast", "svg.fonttype": "none", "font.size": 10}):
        drawn, axes = plt.subplots(figsize=(6.4, 5.2))
        inside = [
            bool(low - 1e-9 <= y <= high + 1e-9)
            for low, y, high in zip(told.low, outcome, told.high, strict=True)
        ]
        for kept, colour, name in ((True, "#33587a", "inside"), (False, "#b4520a", "outside")):
            places = [i for i, found in enumerate(inside) if found is kept]
            axes.vlines(
                [outcome[i] for i in places], told.low[places], told.high[places],
                color=colour, alpha=0.25, linewidth=1.5,
            )  # fmt: skip
            axes.plot(
                [outcome[i] for i in places], told.means[places], "o", color=colour, markersize=4,
                label=f"{name} the 90 % interval ({len(places)})",
            )  # fmt: skip
        axes.plot([0, 1], [0, 1], color="#8a8a8a", linewidth=1, linestyle="--")
        axes.set_xlabel("what happened")
        axes.set_ylabel("forecast")
        axes.set_title(title)
        axes.legend(loc="upper center", frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        out = io.StringIO()
        drawn.tight_layout()
        drawn.savefig(out, format="svg", metadata={"Date": None})
        plt.close(drawn)
    write_text(path, out.getvalue())
