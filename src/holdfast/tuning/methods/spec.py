"""What defines one training arm, and what a method is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from holdfast.core.digest import sha256_json
from holdfast.core.protocols import Messages, Progress
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.methods.settings import TrainConfig
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.tuning.monitor import Monitor
from holdfast.tuning.monitor_config import MonitorConfig
from holdfast.tuning.protections.base import Protection

OnEpoch = Callable[[int, float, LoadedModel], None]
"""Called as on_epoch(step, epoch, model) with every checkpoint; the model's digest is the
checkpoint's. After a crash it is called again for the last checkpoint, so it must be repeatable."""
TaskJudge = Callable[[Messages, str], bool]
"""Whether an answer does what the conversation asks, told by someone who is no reward model."""


@dataclass(frozen=True)
class ArmSpec:
    """Everything that defines one arm."""

    name: str
    """`plain`, `protected` …"""
    base: Path
    """Folder of the base model, a snapshot."""
    rows: Sequence[dict[str, Any]]
    """Training rows. SFT: "messages" that end with the assistant turn to learn. DPO, reward and
    RLHF: "messages" that end with the user's turn, "chosen" and "rejected" answers."""
    out: Path
    """Folder of this arm."""
    config: TrainConfig = field(default_factory=SFTConfig)
    """Training settings; their `method` names the method."""
    protection: Protection | None = None
    """What guards the steps."""
    monitor: Monitor | None = None
    """What is watched."""
    watch: MonitorConfig = field(default_factory=MonitorConfig)
    """When it looks and what an alarm does."""
    judge: TaskJudge | None = None
    """Judge of RLHF's answers that the policy is not trained on."""

    def inputs(self, base_digest: str) -> dict[str, str]:
        """Digests of all that the result depends on."""
        guard = self.protection
        watched = self.monitor.settings() if self.monitor and self.watch.on_alarm != "log" else {}
        return {
            "base": base_digest,
            "rows": sha256_json(list(self.rows)),
            "config": sha256_json(self.config.model_dump(mode="json")),
            "protection": sha256_json([guard.name, guard.settings()] if guard else []),
            "alarm": sha256_json([self.watch.on_alarm, watched]),
        }  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Rows ready to train on."""

    rows: list[dict[str, Any]]
    """What the method's trainer takes: token ids, and what else a row needs."""
    truncated: int = 0
    """Rows whose answer lost its end."""
    dropped: int = 0
    """Rows left out because nothing trainable remained."""


class Method(Protocol):
    """One way of training. Made as cls(arm, start): the arm and the model that it starts from."""

    task: str
    """What an adapter is made for, in PEFT's words: `CAUSAL_LM` or `SEQ_CLS`."""

    def __init__(self, arm: ArmSpec, start: LoadedModel) -> None:
        """Check what can be checked before any training."""
        ...

    @staticmethod
    def open(folder: Path, config: TrainConfig) -> LoadedModel:
        """The model in `folder` as this method trains it."""
        ...

    def rows(self, progress: Progress) -> Rows:
        """The rows of the arm as the trainer takes them; RLHF trains its reward model here."""
        ...

    def trainer(self, model: Any, rows: Rows, callback: Any, common: dict[str, Any]) -> Any:
        """A TRL trainer over `rows`; `common` are the arguments that all trainers share."""
        ...

    @property
    def rows_per_update(self) -> int:
        """Rows that one optimizer step uses."""
        ...
