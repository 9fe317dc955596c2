"""The table and the picture of the bench of monitors."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from holdfast.core.files import write_text
from holdfast.core.records import Interval
from holdfast.pipeline.monitor_bench.bench import COMBINED, Role
from holdfast.pipeline.monitor_bench.scores import Line
from holdfast.stats.detectors import rank_for, worst_rate

_STYLE: Final[dict[Role, tuple[str, str]]] = {
    "combined": ("*", "#0b6e4f"), "stream": ("o", "#33587a"), "random": ("x", "#8a8a8a"),
    "baseline": ("s", "#b4520a"), "oracle": ("D", "#5b3a8e"),
}  # fmt: skip
"""Role -> marker, colour."""


def markdown(made: Sequence[Line], *, calibrated: int, false_alarms: float) -> str:
    """The table for a terminal and a page of results; the combined monitor first.

    `calibrated` benign development runs stand behind thresholds for the rate `false_alarms`.
    """
    rows = [
        "| monitor | detected | warned | median lead | false alarms | cost, steps "
        "| random: warned | warned − random | lead − random | answers at its cost "
        "| warned − answers | lead − answers | beats random / answers |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for line in sorted(made, key=lambda line: (line.role != "combined", _order(line))):
        told = line.against
        name = f"**{line.monitor}**" if line.monitor == COMBINED else line.monitor
        rows.append(
            f"| {name}{'' if line.role == 'stream' else f' ({line.role})'} | {_rate(line.detected)}"
            f" | {_rate(line.warned)} | {_lead(line)} | {_rate(line.false_alarms)} "
            f"| {_number(line.cost)} | {_number(told.null)} | {_span(told.over_null)} "
            f"| {_span(told.lead_over_null)} | {told.baseline or '–'} "
            f"| {_span(told.over_baseline)} | {_span(told.lead_over_baseline)} "
            f"| {_word(told.beats_null)} / {_word(told.beats_baseline)} |"
        )
    losers = [line.monitor for line in made if line.against.beats_null is False]
    listed = ", ".join(losers) if losers else "none"
    return "\n".join([
        *rows, "", f"Thresholds for {false_alarms:.0%} false alarms per run from {calibrated} "
        f"benign development runs; {_promise(calibrated, false_alarms)}.",
        f"Monitors that do not beat random directions: {listed}.",
    ])  # fmt: skip


def _promise(n: int, false_alarms: float) -> str:
    if rank_for(n, false_alarms) > n:
        return f"too few: no alarm can fire below {1 / (n + 1):.1%}"
    return f"the rate of one such calibration is at most {worst_rate(n, false_alarms):.1%} (95 %)"


def _order(line: Line) -> float:
    return -(line.warned.value if line.warned else 0.0)


def _rate(found: Interval | None) -> str:
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]" if found else "–"


def _lead(line: Line) -> str:
    if line.lead is None:
        return "no alarm"
    low = "none" if line.lead_low is None else f"{line.lead_low:+.0f}"
    high = "none" if line.lead_high is None else f"{line.lead_high:+.0f}"
    return f"{line.lead:+.0f} [{low}, {high}]"


def _span(found: tuple[float, float] | None) -> str:
    return f"[{found[0]:+.2f}, {found[1]:+.2f}]" if found else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _word(value: bool | None) -> str:
    return "–" if value is None else "yes" if value else "NO"


def frontier(made: Sequence[Line]) -> list[Line]:
    """Monitors that no other one matches in both share warned and median lead, by share."""
    known = [line for line in made if line.warned and line.lead is not None]

    def rank(line: Line) -> tuple[float, float]:
        assert line.warned is not None
        assert line.lead is not None
        return line.warned.value, line.lead

    best: list[Line] = []
    for line in sorted(known, key=rank, reverse=True):
        if not best or rank(line)[1] > rank(best[-1])[1]:
            best.append(line)
    return best


def figure(made: Sequence[Line], path: Path, *, title: str) -> None:
    """Write an SVG of the share warned against the median lead, with the frontier."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "monitors", "font.size": 9}):
        drawn = Figure(figsize=(7.2, 4.6), layout="constrained")
        axes = drawn.add_subplot()
        for line in made:
            if not line.warned or line.lead is None:
                continue
            marker, colour = _STYLE[line.role]
            axes.scatter([line.lead], [line.warned.value], marker=marker, color=colour,
                         s=90 if line.role == "combined" else 30, zorder=3)  # fmt: skip
            axes.annotate(line.monitor, (line.lead, line.warned.value), xytext=(4, 3),
                          textcoords="offset points", fontsize=7, color=colour)  # fmt: skip
        best = [(line.lead, line.warned.value) for line in frontier(made)
                if line.warned and line.lead is not None]  # fmt: skip
        axes.plot([x for x, _ in best], [y for _, y in best], color="#bbbbbb", linewidth=1,
                  zorder=1)  # fmt: skip
        axes.axvline(0, color="#cccccc", linewidth=0.8, zorder=0)
        axes.set_xlabel("median lead over the failing checkpoint, in steps")
        axes.set_ylabel("share of failing fine-tunes warned of")
        axes.set_ylim(-0.03, 1.05)
        axes.set_title(title, loc="left", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        buffer = io.StringIO()
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    write_text(path, buffer.getvalue())
