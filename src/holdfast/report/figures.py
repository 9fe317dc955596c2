"""Figures as inline SVG whose colours follow the page's light or dark theme.

Matplotlib draws with stand-in colours, which become CSS variables in the SVG; the style sheet gives
them their light and dark values. Nothing is imported from matplotlib before a figure is drawn.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from markupsafe import Markup

from holdfast.report.panels import Panel, Series
from holdfast.report.text import one_line
from holdfast.report.turning import Fan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _MUTED, _GRID, _FLOOR = "#010203", "#010204", "#010205", "#010206"
_ARMS = ("#010211", "#010212", "#010213", "#010214")
_VARIABLES = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--line)",
    _FLOOR: "var(--floor)",
} | {colour: f"var(--arm-{place})" for place, colour in enumerate(_ARMS)}
_STYLES = (("-", "o"), ("--", "s"), ("-.", "^"), (":", "D"))
_SIZE_INCHES = (4.4, 3.0)
_RC = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,
    "path.simplify": True,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _MUTED,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
}


def draw(panel: Panel, key: str, arms: list[str]) -> Markup:
    """The panel as one `<svg>` element; `key` makes its ids unique, `arms` fixes the styles."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_RC | {"svg.hashsalt": key}), warnings.catch_warnings():
        # The reader's browser has the letters; matplotlib only measures them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot()
        _frame(axes, panel)
        _levels(axes, panel)
        for series in panel.lines:
            _line(axes, series, arms, bold=not panel.points)
        for series in panel.points:
            _points(axes, series, arms)
        _label_arms(axes, panel, arms)
        _mark_alarms(axes, panel, arms)
        buffer = io.StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    return _inline(buffer.getvalue(), panel, key)


def draw_fan(fan: Fan, key: str, arms: list[str]) -> Markup:
    """A quarter circle: the base's subspace lies along the bottom, training goes outwards, and an
    angle that opens is a direction that turns; upright it has left the subspace.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_RC | {"svg.hashsalt": key}):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        axes = figure.add_subplot(projection="polar")
        axes.set_thetamin(0)  # type: ignore[attr-defined]  # matplotlib types it as plain axes
        axes.set_thetamax(90)  # type: ignore[attr-defined]  # of polar axes alone
        last = max((step for turned in fan.arms for step in turned.steps), default=1) or 1
        axes.set_rlim(0, 1.05 * last)  # type: ignore[attr-defined]  # of polar axes alone
        axes.set_xticks([math.radians(angle) for angle in (0, 30, 60, 90)])
        axes.set_yticks([t for t in _ticks(last) if 0 < t <= last])
        axes.grid(color=_GRID, linewidth=0.6)
        axes.set_xlabel("optimizer step", labelpad=14)
        for turned in fan.arms:
            colour, style, marker = _look(turned.arm, arms)
            for place, angles in enumerate(turned.angles):
                axes.plot(
                    [math.radians(angle) for angle in angles], turned.steps, color=colour,
                    linestyle=style, marker=marker, markersize=3.5, linewidth=1.5, alpha=0.85,
                    label=one_line(turned.arm, 14) if place == 0 else None,
                )  # fmt: skip
        axes.legend(
            loc="upper left", bbox_to_anchor=(0.95, 1.05), frameon=False, labelcolor=_MUTED
        )  # fmt: skip
        buffer = io.StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    return _inline(buffer.getvalue(), fan, key)


def _frame(axes: Axes, panel: Panel) -> None:
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(panel.y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    steps = [step for series in (*panel.lines, *panel.points) for step in series.steps]
    last = max(steps, default=1) or 1
    axes.set_xlim(-0.04 * last, 1.4 * last)  # room on the right for the labels
    axes.set_xticks([t for t in _ticks(last) if t <= last])
    if panel.share:
        axes.set_ylim(-0.04, 1.12)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    else:
        axes.margins(y=0.14)


def _ticks(last: int) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    return [float(t) for t in MaxNLocator(5, integer=True).tick_values(0, last)]


def _levels(axes: Axes, panel: Panel) -> None:
    """Zero line, floor band, null and base, each with its name beside it."""
    if not panel.share:
        axes.axhline(0, color=_MUTED, linewidth=0.8)
    if panel.floor is not None:
        axes.axhspan(-panel.floor, panel.floor, color=_FLOOR, alpha=0.28, linewidth=0)
        _level_name(axes, panel.floor, "noise floor")
    if panel.null is not None:
        axes.axhline(panel.null, color=_MUTED, linewidth=1, linestyle=(0, (1, 2)))
        _level_name(axes, panel.null, "null", place=0.55)
    if panel.fires is not None:
        axes.axhline(panel.fires, color=_INK, linewidth=1, linestyle=(0, (4, 2)))
        _level_name(axes, panel.fires, "fires")
    if panel.base:
        value, low, high = panel.base
        axes.axhspan(low, high, color=_FLOOR, alpha=0.28, linewidth=0)
        axes.axhline(value, color=_MUTED, linewidth=1, linestyle=(0, (1, 2)))


def _level_name(axes: Axes, y: float, name: str, place: float = 0.02) -> None:
    axes.annotate(
        name, (place, y), xycoords=axes.get_yaxis_transform(), xytext=(0, 2),
        textcoords="offset points", color=_MUTED, fontsize=8, va="bottom",
    )  # fmt: skip


def _look(arm: str, arms: list[str]) -> tuple[str, str, str]:
    place = arms.index(arm) % len(_ARMS)
    return _ARMS[place], *_STYLES[place]


def _line(axes: Axes, series: Series, arms: list[str], *, bold: bool) -> None:
    colour, style, _ = _look(series.arm, arms)
    width, alpha = (1.8, 1.0) if bold else (1.1, 0.55)
    axes.plot(
        series.steps, series.values, color=colour, linestyle=style, linewidth=width, alpha=alpha
    )


def _points(axes: Axes, series: Series, arms: list[str]) -> None:
    colour, style, marker = _look(series.arm, arms)
    last = max(series.steps) or 1
    shift = 0.008 * last * (2 * arms.index(series.arm) - len(arms) + 1)
    steps = [step + shift for step in series.steps]  # intervals side by side, not on each other
    reach: list[list[float]] = [
        [max(0.0, v - low) for v, low in zip(series.values, series.low, strict=True)],
        [max(0.0, high - v) for v, high in zip(series.values, series.high, strict=True)],
    ]
    axes.errorbar(
        steps, series.values, yerr=reach, color=colour, linestyle=style, marker=marker,
        markersize=4.5, linewidth=1.6, elinewidth=1.1, capsize=2.5,
    )  # fmt: skip


def _label_arms(axes: Axes, panel: Panel, arms: list[str]) -> None:
    """Each arm's name at the end of its curve, pushed apart where the ends meet."""
    shown = {series.arm: series for series in (*panel.lines, *panel.points)}
    low, high = axes.get_ylim()
    gap = 0.085 * (high - low)
    below = low - gap
    for series in sorted(shown.values(), key=lambda s: s.values[-1]):
        y = max(series.values[-1], below + gap)
        axes.annotate(
            f"{one_line(series.arm, 14)}", (series.steps[-1], y), xytext=(9, 0),
            textcoords="offset points", color=_look(series.arm, arms)[0], fontweight="bold",
            va="center",
        )  # fmt: skip
        below = y


def _mark_alarms(axes: Axes, panel: Panel, arms: list[str]) -> None:
    """A triangle at the top for every alarm; the first one of each arm has a line and a word."""
    for place, (arm, steps) in enumerate(panel.alarms.items()):
        colour = _look(arm, arms)[0]
        height = 0.985 - 0.07 * place
        across = axes.get_xaxis_transform()
        axes.plot(steps, [height] * len(steps), "v", color=colour, markersize=5, transform=across)
        axes.axvline(steps[0], color=colour, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.annotate(
            "alarm", (steps[-1], height), xycoords=across, xytext=(6, 0),
            textcoords="offset points", color=colour, fontsize=8, va="center",
        )  # fmt: skip


def _inline(svg: str, panel: Panel | Fan, key: str) -> Markup:
    """Matplotlib's file as an element: own ids, theme colours, a title and a description."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{key}-', body)
    body = re.sub(r'(href="|url\()#', rf"\g<1>#{key}-", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    box = re.search(r'viewBox="[^"]+"', body)
    head: Any = box.group(0) if box else ""
    start = (
        f'<svg class="plot" {head} xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'aria-labelledby="{key}-title {key}-desc"><title id="{key}-title">{escape(panel.title)}'
        f'</title><desc id="{key}-desc">{escape(panel.description)}</desc>'
    )
    # Every text in the drawing went through matplotlib's XML writer, and these two through escape.
    return Markup(start + body[body.index(">") + 1 :].rstrip())
