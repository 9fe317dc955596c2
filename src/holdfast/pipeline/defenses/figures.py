"""One figure per data set: safety against task success, with intervals and the Pareto front."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.core.files import write_text
from holdfast.pipeline.defenses.arms import ARMS
from holdfast.pipeline.defenses.table import Line, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colour and marker both tell the group, so that the figure reads without colour.
_GROUPS = {
    "reference": ("#222222", "s"), "free": ("#7a7a7a", "o"), "repair": ("#1b7837", "^"),
    "protection": ("#2166ac", "D"), "subspace": ("#b2182b", "v"), "twin": ("#d9a0a7", "v"),
}  # fmt: skip
_FREE = ("plain lr/3", "early stop", "random revert")
_REPAIRS = ("resta", "realign_sft", "realign_dpo")
_RC = {"svg.fonttype": "none", "svg.hashsalt": "defenses", "font.family": "sans-serif",
       "font.size": 8.5}  # fmt: skip


def group(name: str) -> str:
    """The group of an arm in the figure."""
    arm = ARMS[name]
    if arm.reference:
        return "reference"
    if arm.twin_of:
        return "twin"
    if name in _FREE or name.startswith("scale "):
        return "free"
    if name in _REPAIRS:
        return "repair"
    methods = {other.twin_of for other in ARMS.values()}
    return "subspace" if name in methods else "protection"


def write(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Draw `defenses-DATA.svg` for every table into `folder`; return their paths."""
    paths = []
    for table in tables:
        path = folder / f"defenses-{table.data}.svg"
        write_text(path, draw(table))
        paths.append(path)
    return paths


def draw(table: Table) -> str:
    """The figure as SVG text, the same for the same table."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_RC):
        figure = Figure(figsize=(10.0, 6.6), layout="constrained")
        axes = figure.add_subplot()
        shown = [line for line in table.lines if line.arm != "none"]
        for number, line in enumerate(shown, 1):
            _point(axes, line, number)
        _numbers(axes, shown)
        front = sorted((x.task.value, x.safety.value) for x in shown if x.front)
        axes.plot([x for x, _ in front], [y for _, y in front], color="#999999", linewidth=0.8,
                  zorder=1)  # fmt: skip
        axes.axhline(table.base_safety, color="#222222", linewidth=0.6, linestyle=":")
        axes.set_xlabel("task success on held-out rows")
        axes.set_ylabel("share of harmful requests refused, plain and wrapped")
        axes.set_title(
            f"{table.data} (threat: {table.threat}); cells: {table.cells}; prompts a suite: "
            f"{table.prompts}; 95 % intervals\nsolid: Pareto front; dotted: the base; twins are "
            "without intervals",
            fontsize=8.5, loc="left",
        )  # fmt: skip
        least = min((line.task.value for line in shown), default=0.0)
        axes.set_xlim(min(least, 0.9) - 0.03, 1.04)
        axes.set_ylim(-0.03, 1.03)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(
            loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=7,
            labelspacing=0.22, handletextpad=0.3,
        )  # fmt: skip
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _point(axes: Axes, line: Line, number: int) -> None:
    colour, marker = _GROUPS[group(line.arm)]
    x, y = line.task, line.safety
    twin = bool(ARMS[line.arm].twin_of)
    axes.errorbar(
        x.value, y.value,
        xerr=None if twin else [[x.value - x.low], [x.high - x.value]],
        yerr=None if twin else [[y.value - y.low], [y.high - y.value]],
        color=colour, marker=marker, markersize=4.5, markerfacecolor="white" if twin else colour,
        linewidth=0.5, linestyle="none", alpha=0.85, label=f"{number} {line.arm}",
    )  # fmt: skip


def _numbers(axes: Axes, lines: Sequence[Line]) -> None:
    """The numbers of the arms, those that share a point together."""
    places: dict[tuple[float, float], list[str]] = {}
    for number, line in enumerate(lines, 1):
        place = (round(line.task.value, 3), round(line.safety.value, 2))
        places.setdefault(place, []).append(str(number))
    for place, found in places.items():
        text = ", ".join(found)
        axes.annotate(text, place, textcoords="offset points", xytext=(3.5, 3.5), fontsize=6.5)
