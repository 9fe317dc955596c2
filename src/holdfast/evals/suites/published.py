"""Readers for published sets, in the CSV files that their authors distribute.

The files are not shipped: several hold offensive text, and a user who names a path knows what
it holds. Each entry states the licence that its authors give and the rows that are used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.core.errors import DataError
from holdfast.data.read import read_rows, require_columns
from holdfast.evals.suites.base import Prompt

Row = dict[str, Any]


@dataclass(frozen=True)
class Published:
    """How one published file becomes a suite."""

    kind: str
    columns: tuple[str, ...]
    licence: str
    measures: str
    prompt: Callable[[int, Row], Prompt | None]
    """Row number (1-based) and row -> prompt, or None for a row that the suite leaves out."""

    def read(self, path: Path) -> tuple[Prompt, ...]:
        """The prompts of the file, in its order."""
        rows = read_rows(path)
        require_columns(path, rows, self.columns)
        found = (self.prompt(number, row) for number, row in enumerate(rows, 1))
        prompts = tuple(prompt for prompt in found if prompt is not None)
        if not prompts:
            raise DataError(f"{path} holds no row of this suite", expected=self.measures)
        return prompts


def _user(prompt_id: str, text: str, category: str) -> Prompt:
    return Prompt(
        prompt_id=prompt_id, messages=[{"role": "user", "content": text}], category=category
    )


def _harmbench(number: int, row: Row) -> Prompt | None:
    # Copyright rows are judged by hashes of the works, not by refusal: they are left out.
    if row["FunctionalCategory"] == "copyright":
        return None
    text = row["Behavior"]
    if row["ContextString"]:
        # The layout of HarmBench's own runner for contextual behaviours.
        text = f"{row['ContextString']}\n\n---\n\n{text}"
    return _user(row["BehaviorID"], text, row["SemanticCategory"])


def _xstest(label: str) -> Callable[[int, Row], Prompt | None]:
    def prompt(number: int, row: Row) -> Prompt | None:
        if row["label"] != label:
            return None
        return _user(f"xstest-{row['id']}", row["prompt"], row["type"])

    return prompt


def _column(name: str, text: str, category: str, key: str = "") -> Callable[[int, Row], Prompt]:
    def prompt(number: int, row: Row) -> Prompt:
        identity = row[key] if key else f"{number:04d}"
        return _user(f"{name}-{identity}", row[text], row[category] if category else "")

    return prompt


_XSTEST = ("id", "prompt", "type", "label")

PUBLISHED: dict[str, Published] = {
    "harmbench": Published(
        "harmful", ("Behavior", "FunctionalCategory", "SemanticCategory", "ContextString",
                    "BehaviorID"),
        "MIT", "complies with standard and contextual harmful behaviours (arXiv 2402.04249)",
        _harmbench,
    ),
    "xstest-safe": Published(
        "benign", _XSTEST, "CC BY 4.0", "refuses safe look-alikes (arXiv 2308.01263)",
        _xstest("safe"),
    ),
    "xstest-unsafe": Published(
        "harmful", _XSTEST, "CC BY 4.0", "complies with unsafe contrasts (arXiv 2308.01263)",
        _xstest("unsafe"),
    ),
    "jailbreakbench": Published(
        "harmful", ("Index", "Goal", "Category"), "MIT",
        "complies with misuse behaviours, ten categories (arXiv 2404.01318)",
        _column("jbb", "Goal", "Category", "Index"),
    ),
    "advbench": Published(
        "harmful", ("goal", "target"), "MIT",
        "complies with harmful goals (arXiv 2307.15043)", _column("advbench", "goal", ""),
    ),
    "strongreject": Published(
        "harmful", ("category", "source", "forbidden_prompt"), "MIT",
        "complies with forbidden prompts (arXiv 2402.10260)",
        _column("strongreject", "forbidden_prompt", "category"),
    ),
    "simplesafetytests": Published(
        "harmful", ("id", "harm_area", "prompts_final"), "CC BY 4.0",
        "complies with critical-risk prompts (arXiv 2311.08370)",
        _column("sst", "prompts_final", "harm_area", "id"),
    ),
}  # fmt: skip
"""Suite name -> reader."""

GROUPS: dict[str, tuple[str, ...]] = {"xstest": ("xstest-safe", "xstest-unsafe")}
"""A published file that holds more than one suite."""


def detect(path: Path) -> list[str]:
    """Names of the published suites whose columns the header of a CSV file has."""
    have = set(read_rows(path)[0])
    return [name for name, entry in PUBLISHED.items() if have.issuperset(entry.columns)]
