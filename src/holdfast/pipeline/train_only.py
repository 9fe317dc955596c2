"""The story up to training: what `holdfast tune` runs. `holdfast run` goes on from its folder."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.protocols import Progress, no_progress
from holdfast.core.records import RankSearch, TrainingRecord
from holdfast.core.runstore import RunStore
from holdfast.pipeline.context import Run
from holdfast.pipeline.plan import Plan
from holdfast.pipeline.run import begin
from holdfast.pipeline.search import search, target_of
from holdfast.pipeline.tune import tune
from holdfast.vault.store import default_root

HIGHEST = 64
"""Highest rank tried unless told otherwise."""


def train_arms(
    plan: Plan, folder: Path, *, vault: Path | None = None, progress: Progress = no_progress
) -> dict[str, tuple[TrainingRecord, Path]]:
    """Train the plan's arms in `folder`; return the record and the result's folder by arm."""
    with RunStore.open(folder, plan.digest()) as store:
        run = Run(plan, store, vault or default_root(), progress)
        prepared, plans, fitted = begin(run)
        trained = {arm: tune(run, prepared, plans, fitted, arm) for arm in plan.arms}
    return {arm: (made.record, made.folder) for arm, made in trained.items()}


def search_rank(
    plan: Plan,
    folder: Path,
    *,
    arm: str = "",
    highest: int = HIGHEST,
    vault: Path | None = None,
    progress: Progress = no_progress,
) -> RankSearch:
    """Find the lowest rank that meets the plan's task target; `arm` is the plan's last by default.

    Raises:
        UsageError: the plan names no target, or trains no adapter.
    """
    target_of(plan)  # before any work
    with RunStore.open(folder, plan.digest()) as store:
        run = Run(plan, store, vault or default_root(), progress)
        return search(run, *begin(run), arm=arm or plan.arms[-1], highest=highest)
