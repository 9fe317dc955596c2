"""The report as ONE HTML file: no script, no network, readable on paper, phone and screen.

Escaping is the template engine's, on for every value; before it, `clean` takes acting characters
out of every value. Only two things are marked as HTML: our own style sheet, and figures in which
every text was escaped when it was drawn. A content security policy in the file forbids scripts,
forms and requests, should anything ever slip through.
"""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from holdfast import __version__
from holdfast.core.files import write_text
from holdfast.report import (
    alarms,
    audits,
    figures,
    forecasts,
    methods,
    panels,
    repairs,
    samples,
    summary,
    tables,
    turning,
)
from holdfast.report.load import Run
from holdfast.report.panels import Panel
from holdfast.report.text import clean, one_line, short

_MEANING = {
    "PASS": "may ship under this policy",
    "FAIL": "must not ship",
    "INCONCLUSIVE": "not enough evidence to ship",
    "INVALID": "the comparison cannot be trusted",
    "NOT MEASURED": "no verdict",
}


def write(run: Run, path: Path, *, show_samples: bool = False) -> Path:
    """Write the report of `run` to `path`, atomically, and return the path."""
    write_text(path, render(run, show_samples=show_samples))
    return path


def render(run: Run, *, show_samples: bool = False) -> str:
    """The whole HTML text; `show_samples` shows answers of real red-team suites, folded away."""
    folder = files("holdfast.report") / "templates"
    environment = Environment(
        loader=DictLoader({"report": (folder / "report.html.jinja").read_text("utf-8")}),
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup((folder / "report.css").read_text("utf-8"))  # ours, not input
    return environment.get_template("report").render(style=style, **_content(run, show_samples))


def _harmless(value: Any) -> Any:
    return value if isinstance(value, Markup) else clean(value)


def _content(run: Run, show_samples: bool) -> dict[str, Any]:
    return {
        "name": one_line(run.folder.resolve().name, 80),
        "argument": shlex.quote(one_line(run.folder.resolve().name, 80)),
        "version": __version__,
        "plan_digest": short(run.plan_digest),
        "arms": [_arm(run, name) for name in run.arms],
        "threat": summary.threat_sentence(run),
        "happened": summary.what_happened(run),
        "missing": summary.missing(run),
        "problems": [one_line(problem) for problem in run.problems],
        "eligible": run.safety_map.eligible if run.safety_map else None,
        "figure_groups": _figure_groups(run),
        "tables": {
            "alarms": alarms.table(run),
            "rates": tables.rates(run),
            "geometry": tables.geometry(run),
            "weights": tables.weight_shares(run),
            "sites": tables.sites(run),
            "training": tables.training(run),
            "scales": tables.scales(run),
            "baselines": tables.free_baselines(run),
            "identities": tables.identities(run),
            "conditions": tables.conditions(run),
        },
        "audit": audits.panel(run.audit) if run.audit else None,
        "forecast": forecasts.panel(run),
        "methods": methods.tables(run),
        "turning": _turning(run),
        "repairs": [repairs.panel(record) for record in run.repairs],
        "monitored": any(arm.training and arm.training.trajectory for arm in run.arms.values()),
        "suites": samples.choose(run, show_samples=show_samples),
        "plan": tables.plan_text(run),
        "eligibility": [
            (one_line(key, 60), one_line(value)) for key, value in run.eligibility.items()
        ],
    }


def _arm(run: Run, name: str) -> dict[str, Any]:
    arm = run.arms[name]
    word = summary.outcome_word(arm)
    return {
        "name": one_line(name, 40),
        "place": list(run.arms).index(name) % 4,
        "word": word,
        "tone": word.lower().replace(" ", "-"),
        "meaning": _MEANING[word],
        "reason": summary.reason(arm.verdict),
        "paired": tables.paired(arm),
        "findings": tables.findings(arm),
    }


def _figure_groups(run: Run) -> list[dict[str, Any]]:
    groups = (
        ("Behaviour, epoch by epoch", "behaviour", panels.rate_panels(run)),
        ("What the monitor saw", "monitor", panels.monitor_panels(run)),
        ("Drift of the geometry", "drift", panels.drift_panels(run)),
    )
    return [
        {
            "title": title,
            "figures": _figures(run, key, found[: panels.MAX_PANELS]),
            "left_out": max(0, len(found) - panels.MAX_PANELS),
        }
        for title, key, found in groups
    ]


def _turning(run: Run) -> list[dict[str, Any]]:
    arms = list(run.arms)
    return [
        {
            "title": fan.title,
            "note": fan.note,
            "svg": figures.draw_fan(fan, f"turning-{place}", arms),
        }
        for place, fan in enumerate(turning.fans(run))
    ]


def _figures(run: Run, group: str, found: list[Panel]) -> list[dict[str, Any]]:
    arms = list(run.arms)
    return [
        {
            "title": panel.title,
            "note": panel.note,
            "svg": figures.draw(panel, f"{group}-{place}", arms),
        }
        for place, panel in enumerate(found)
    ]
