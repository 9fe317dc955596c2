"""What every stage of a run shares: the plan, the store, where things lie, and progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.core.protocols import Progress, no_progress
from holdfast.core.records import ModelRef
from holdfast.core.runstore import RunStore
from holdfast.pipeline.plan import Plan

if TYPE_CHECKING:
    from holdfast.models.loaded import LoadedModel

BASE = "base"


@dataclass
class Run:
    """One run under way."""

    plan: Plan
    store: RunStore
    vault: Path
    """Folder of the vault."""
    progress: Progress = no_progress
    base_ref: ModelRef | None = field(default=None, init=False)
    """Identity of the sealed base, once it is sealed."""

    @property
    def base_folder(self) -> Path:
        """The working copy of the sealed base."""
        return self.store.path(BASE)

    @property
    def base_digest(self) -> str:
        """Digest of the sealed base."""
        assert self.base_ref is not None, "the base is sealed first"
        return self.base_ref.model_digest

    @cached_property
    def base(self) -> LoadedModel:
        """The base model, loaded when a stage first needs it."""
        return self.load()

    def load(self, adapter: Path | None = None, folder: Path | None = None) -> LoadedModel:
        """The base with `adapter`, or the full weights in `folder`, with the plan's settings."""
        from holdfast.models.loading import load

        section = self.plan.model
        return load(
            folder or self.base_folder, adapter=adapter, dtype=section.dtype,
            device=section.device, trust_remote_code=section.trust_remote_code,
        )  # fmt: skip

    def load_result(self, folder: Path) -> LoadedModel:
        """A result below `arms/`: an adapter on what its arm started from, or whole weights."""
        from holdfast.tuning.artefacts import ADAPTER

        if not (folder / ADAPTER).is_file():
            return self.load(folder=folder)
        return self.load(adapter=folder, folder=self.start_of(folder))

    def start_of(self, folder: Path) -> Path:
        """The folder that an adapter below `arms/` sits on: the base, or the arm's NF4 base."""
        from holdfast.tuning.methods.arm import start_folder

        arms = self.store.path("arms").resolve()
        resolved = folder.resolve()
        if not resolved.is_relative_to(arms):
            return self.base_folder
        arm = resolved.relative_to(arms).parts[0]
        return start_folder(self.plan.train, self.base_folder, self.store.path(f"arms/{arm}"))
