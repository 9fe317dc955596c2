"""One training arm: from a base folder and rows to checkpoints and a `TrainingRecord`.

The base is only read. Kill the process at any moment and call `train` again with the same spec: it
goes on from the last whole checkpoint, on the trajectory that an uninterrupted run takes.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from holdfast.core.digest import canonical_json, sha256_json
from holdfast.core.errors import InvalidRun, UsageError
from holdfast.core.files import write_text
from holdfast.core.protocols import Progress, no_progress
from holdfast.core.records import Checkpoint, TrainingRecord
from holdfast.models.hooks import quiet_eval
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.tuning import checkpoints
from holdfast.tuning.callback import HoldfastCallback
from holdfast.tuning.hf import adapters, trainer
from holdfast.tuning.methods.sft import rows as sft_rows
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.tuning.monitor import Monitor
from holdfast.tuning.monitor_config import MonitorConfig
from holdfast.tuning.protections.base import Protection
from holdfast.vault.manifest import describe, describe_adapter

OnEpoch = Callable[[int, float, LoadedModel], None]
"""Called as on_epoch(step, epoch, model) with every checkpoint; the model's digest is the
checkpoint's. After a crash it is called again for the last checkpoint, so it must be repeatable."""
SMALL = 50_000_000
"""Parameters below which one thread is faster than several."""
RECORD = "training.json"
_SPEC = "arm.json"


@dataclass(frozen=True)
class ArmSpec:
    """Everything that defines one arm."""

    name: str
    """`plain`, `protected` …"""
    base: Path
    """Folder of the base model, a snapshot."""
    rows: Sequence[dict[str, Any]]
    """Training rows, each with "messages" that end with the assistant turn to learn."""
    out: Path
    """Folder of this arm."""
    config: SFTConfig = field(default_factory=SFTConfig)
    """Training settings."""
    protection: Protection | None = None
    """What guards the steps."""
    monitor: Monitor | None = None
    """What is watched."""
    watch: MonitorConfig = field(default_factory=MonitorConfig)
    """When it looks and what an alarm does."""

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


def train(
    arm: ArmSpec, *, on_epoch: OnEpoch | None = None, progress: Progress = no_progress
) -> TrainingRecord:
    """Train one arm, or finish it, or return its record when it is finished already.

    Raises:
        UsageError: the folder holds another arm, or the set-up cannot be guarded.
        DataError: the rows cannot be trained on.
        InvalidRun: the loss is no number, or the protection did not act on every step.
        IntegrityError: a checkpoint to resume from was changed.
    """
    base = load(arm.base, dtype=arm.config.dtype, device=arm.config.device)
    inputs = arm.inputs(base.digest)
    _claim(arm, inputs)
    if (arm.out / RECORD).is_file():
        return TrainingRecord.load(arm.out / RECORD)
    with trainer.quiet(), _threads(base.model):
        return _Run(arm, base, inputs, on_epoch, progress).finish()


class _Run:
    """The work of `train`."""

    def __init__(
        self,
        arm: ArmSpec,
        base: LoadedModel,
        inputs: dict[str, str],
        on_epoch: OnEpoch | None,
        progress: Progress,
    ) -> None:
        self.arm, self.base, self.inputs = arm, base, inputs
        self.on_epoch = on_epoch
        self.done: list[Checkpoint] = []
        self.steps_per_epoch = 1
        self.callback = HoldfastCallback(
            monitor=arm.monitor, protection=arm.protection, every=arm.watch.every,
            on_alarm=arm.watch.on_alarm if arm.monitor else "log", budget=arm.watch.budget,
            dense=arm.watch.dense, on_save=self._saved,
            progress=lambda _, step, total: progress(f"training {arm.name}", step, total),
        )  # fmt: skip

    def finish(self) -> TrainingRecord:
        """Train what is left and write the record."""
        config = self.arm.config
        rows = sft_rows.prepare(
            self.base, self.arm.rows, max_length=config.max_length, unusable=config.unusable_rows
        )
        batch = config.batch_size * config.accumulation
        self.steps_per_epoch = -(-len(rows.rows) // batch)
        self.callback.prepare(self.base, batch_rows=batch)
        found = checkpoints.latest(self.arm.out / "resume")
        if found:
            self._restore(found[1])
        if not self.callback.stopped:
            built = self._trainer(rows.rows)
            built.train(resume_from_checkpoint=str(found[0]) if found else None)
        if not self.done or self.callback.loss is None:
            raise InvalidRun("training ended without a checkpoint")
        record = self._record(rows)
        record.save(self.arm.out / RECORD)
        shutil.rmtree(self.arm.out / "resume")  # optimizer states; nothing is left to resume
        return record

    def _trainer(self, rows: list[dict[str, list[int]]]) -> Any:
        config, model = self.arm.config, self.base.model
        trainer.seed_everything(config.seed)
        if config.tuner == "lora":
            model = adapters.add_lora(
                model, rank=config.rank, alpha=config.alpha, dropout=config.dropout,
                targets=config.targets,
            )  # fmt: skip
        arguments = {
            "seed": config.seed, "data_seed": config.seed,
            "per_device_train_batch_size": config.batch_size,
            "gradient_accumulation_steps": config.accumulation,
            "gradient_checkpointing": config.gradient_checkpointing,
            "learning_rate": config.learning_rate, "weight_decay": config.weight_decay,
            "lr_scheduler_type": (
                "linear" if config.schedule == "linear" else "constant_with_warmup"
            ),
            "warmup_steps": config.warmup_steps, "max_grad_norm": config.max_grad_norm,
            "num_train_epochs": config.epochs, "use_cpu": self.base.device.type == "cpu",
        }  # fmt: skip
        return trainer.sft_trainer(
            model, self.base.tokenizer, rows, folder=self.arm.out / "resume",
            callback=self.callback, arguments=arguments,
        )  # fmt: skip

    def _saved(self, folder: Path, callback: HoldfastCallback, live: LoadedModel) -> None:
        """Export, name and seal a checkpoint of the Trainer, then have it evaluated."""
        step = int(folder.name.split("-")[1])
        model = self.arm.out / "epochs" / f"{step:06d}"
        checkpoints.export(folder, model)
        checkpoint = Checkpoint(
            step=callback.weights_step, epoch=step / self.steps_per_epoch,
            path=model.relative_to(self.arm.out).as_posix(), model_digest=self._digest(model),
        )  # fmt: skip
        self.done.append(checkpoint)
        state = {
            "callback": callback.state(), "checkpoints": [c.model_dump() for c in self.done]
        }  # fmt: skip
        checkpoints.seal(folder, state)
        if self.on_epoch:
            named = LoadedModel.live(live.model, live.tokenizer, checkpoint.model_digest)
            with quiet_eval(live.model):
                self.on_epoch(checkpoint.step, checkpoint.epoch, named)

    def _restore(self, state: dict[str, Any]) -> None:
        """Take over a checkpoint's state; its evaluation may have been cut off, so repeat it."""
        self.callback.restore(state["callback"])
        self.done = [Checkpoint.model_validate(item) for item in state["checkpoints"]]
        if self.on_epoch:
            last = self.done[-1]
            self.on_epoch(last.step, last.epoch, self._load(self.arm.out / last.path))

    def _load(self, folder: Path) -> LoadedModel:
        config = self.arm.config
        if config.tuner == "full":
            return load(folder, dtype=config.dtype, device=config.device)
        return load(self.arm.base, adapter=folder, dtype=config.dtype, device=config.device)

    def _digest(self, folder: Path) -> str:
        if self.arm.config.tuner == "full" or self.base.ref is None:
            return describe(folder).model_digest
        return describe_adapter(folder, self.base.ref).model_digest

    def _record(self, rows: sft_rows.Rows) -> TrainingRecord:
        arm, callback = self.arm, self.callback
        protection = "none"
        if arm.protection:
            protection = f"{arm.protection.name} {canonical_json(arm.protection.settings())}"
        return TrainingRecord(
            arm=arm.name, base=self.base.digest, method=f"sft+{arm.config.tuner}",
            protection=protection, inputs=self.inputs, seed=arm.config.seed,
            steps=callback.weights_step, protected_steps=callback.protected_steps,
            train_seconds=callback.clock.training,
            monitor_seconds=callback.clock.parts.get("monitor", 0.0),
            protection_seconds=callback.clock.parts.get("protection", 0.0),
            final_loss=callback.loss or 0.0, checkpoints=tuple(self.done),
            trajectory=tuple(callback.points), alarms=tuple(callback.alarms),
            environment={
                **{name: version(name) for name in ("torch", "transformers", "trl", "peft")},
                "device": str(self.base.device), "rows": str(len(rows.rows)),
                "rows_truncated": str(rows.truncated), "rows_dropped": str(rows.dropped),
            },
        )  # fmt: skip


def _claim(arm: ArmSpec, inputs: dict[str, str]) -> None:
    """Make the folder this arm's own, or check that it is."""
    path = arm.out / _SPEC
    text = canonical_json(inputs)
    if not path.is_file():
        write_text(path, text)
    elif path.read_text("utf-8") != text:
        raise UsageError(
            f"{arm.out} holds another training run",
            expected="the same base, rows, settings and protection",
            next_step="choose another folder, or delete that one",
        )


@contextlib.contextmanager
def _threads(model: torch.nn.Module) -> Iterator[None]:
    """One thread for a small model: waking the others costs more than it saves."""
    before = torch.get_num_threads()
    if sum(p.numel() for p in model.parameters()) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
