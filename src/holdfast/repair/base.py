"""What a repair method gets, and what it must do."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from holdfast.core.protocols import Progress
from holdfast.core.records import FailureMode, RepairTrial
from holdfast.geometry.fitted import FittedMap
from holdfast.repair.pairs import Pairs
from holdfast.repair.updates import Update
from holdfast.tuning.methods.sft.config import SFTConfig

TRAINED_ROW = 3.0
"""Cost of one trained row in answered prompts: a forward pass and a backward one of twice that."""
PAIRS_EXPECTED = 400.0
"""Rows assumed for the cost of re-alignment before its rows are made."""


@dataclass(frozen=True)
class Case:
    """One failed arm, and everything that a repair may use. The gate's prompts are not among it."""

    arm: str
    """Name of the arm."""
    base: Path
    """Folder of the base."""
    update: Update
    """The change that the run made."""
    merged: Callable[[], Path]
    """The failed model as one folder of full weights; made at the first call."""
    fitted: FittedMap
    """The safety map of the base."""
    writers: Callable[[], list[str]]
    """Names of the weights that write to the residual stream."""
    unaligned: Path | None
    """Folder of an unaligned sibling of the base (such as its pretrained checkpoint), if any."""
    failures: tuple[FailureMode, ...]
    """How the run failed."""
    pairs: Callable[[], Pairs]
    """Training pairs made from the run's own failures; made at the first call."""
    rows: list[dict[str, Any]]
    """The run's own training rows."""
    config: SFTConfig
    """How the run was trained."""
    seed: int
    """Seed of the run."""
    prompts: int
    """Prompts that one validation measurement asks."""
    quick_prompts: int
    """Prompts that one quick measurement asks."""


@dataclass(frozen=True)
class Tried:
    """A candidate and where it lies."""

    trial: RepairTrial
    folder: Path


class Bench(Protocol):
    """Measures candidates on validation prompts."""

    def __call__(
        self,
        name: str,
        folder: Path,
        settings: dict[str, float | str],
        *,
        twin: bool = False,
        quick: bool = False,
    ) -> Tried:
        """Answer the validation prompts with the model in `folder` (a part of them if `quick`)."""
        ...


class Method(Protocol):
    """One way of repairing. Called without arguments; settings are class-level constants."""

    name: str
    """Name in the registry."""

    def settings(self) -> dict[str, Any]:
        """Everything that its candidates depend on besides the case, JSON-ready."""
        ...

    def unsound(self, case: Case) -> str:
        """Why it cannot be tried on this case, or ""."""
        ...

    def cost(self, case: Case) -> float:
        """Planned cost in answered prompts; decides the order of the ladder."""
        ...

    def candidates(self, case: Case, bench: Bench, folder: Path, progress: Progress) -> list[Tried]:
        """Make candidates under `folder` and measure them, from the smallest change up.

        Must give the same candidates when it is called again after a crash.
        """
        ...


def slug(name: str) -> str:
    """A candidate's name as a folder name."""
    return re.sub(r"[^a-z0-9.+]+", "-", name.lower()).strip("-.")
