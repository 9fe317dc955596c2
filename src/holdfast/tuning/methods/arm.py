"""One training arm, by any method: from a base folder and rows to checkpoints and a record.

The base is only read. Kill the process at any moment and call `train` again with the same spec: it
goes on from the last whole checkpoint, on the trajectory that an uninterrupted run takes.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from holdfast.core.digest import canonical_json
from holdfast.core.errors import IntegrityError, InvalidRun, UsageError
from holdfast.core.files import write_text
from holdfast.core.protocols import Progress, no_progress
from holdfast.core.records import Checkpoint, TrainingRecord
from holdfast.models.hooks import quiet_eval
from holdfast.models.loaded import LoadedModel
from holdfast.tuning import artefacts, checkpoints
from holdfast.tuning.callback import HoldfastCallback
from holdfast.tuning.divergence import DivergenceGuard
from holdfast.tuning.hf import adapters, trainer
from holdfast.tuning.methods.registry import METHODS
from holdfast.tuning.methods.settings import TrainConfig
from holdfast.tuning.methods.spec import ArmSpec, Method, OnEpoch, Rows
from holdfast.tuning.protections.rules import Setting, refuse
from holdfast.vault.manifest import describe, describe_adapter

SMALL = 50_000_000
"""Parameters below which one thread is faster than several."""
RECORD = "training.json"
_SPEC = "arm.json"
_INITIAL = "initial.safetensors"
_NF4 = "nf4"


def start_folder(config: TrainConfig, base: Path, out: Path) -> Path:
    """The folder that an arm in `out` starts from and its adapters sit on: the base, or its NF4."""
    return out / _NF4 if config.tuner == "qlora" else base


def train(
    arm: ArmSpec, *, on_epoch: OnEpoch | None = None, watchers: Sequence[Any] = (),
    progress: Progress = no_progress,
) -> TrainingRecord:  # fmt: skip
    """Train one arm, or finish it, or return its record when it is finished already.

    `watchers` are further `transformers.TrainerCallback`s, which look and change nothing.

    Raises:
        UsageError: the folder holds another arm, or the set-up cannot be guarded.
        EnvironmentFault: 4-bit weights without bitsandbytes.
        DataError: the rows cannot be trained on.
        InvalidRun: the loss is no number or runs away, the protection did not act on every step,
            or a reward model failed its gate.
        IntegrityError: a checkpoint to resume from was changed.
    """
    method = getattr(arm.config, "method", "")
    kind = METHODS.load(method)
    _guardable(arm, method)
    artefacts.check_environment(arm.config)
    with trainer.quiet():
        digest = describe(arm.base).model_digest
        inputs = arm.inputs(digest)
        _claim(arm, inputs)
        if (arm.out / RECORD).is_file():
            return TrainingRecord.load(arm.out / RECORD)
        folder = start_folder(arm.config, arm.base, arm.out)
        if arm.config.tuner == "qlora":
            progress("quantise the base", 0, 0)
            artefacts.quantise(arm.base, folder, dtype=arm.config.dtype)
        start = kind.open(folder, arm.config)
        with _threads(start.model):
            return _Run(arm, kind(arm, start), start, digest, on_epoch, watchers, progress).finish()


class _Run:
    """The work of `train`."""

    def __init__(
        self, arm: ArmSpec, method: Method, start: LoadedModel, base: str,
        on_epoch: OnEpoch | None, watchers: Sequence[Any], progress: Progress,
    ) -> None:  # fmt: skip
        self.arm, self.method, self.start, self.base_digest = arm, method, start, base
        self.on_epoch, self.watchers, self.progress = on_epoch, watchers, progress
        self.done: list[Checkpoint] = []
        self.steps_per_epoch = 1
        self.initial = arm.out / _INITIAL if arm.config.init != "default" else None
        self.callback = HoldfastCallback(
            monitor=arm.monitor, protection=arm.protection, every=arm.watch.every,
            on_alarm=arm.watch.on_alarm if arm.monitor else "log", budget=arm.watch.budget,
            dense=arm.watch.dense, on_save=self._saved,
            progress=lambda _, step, total: progress(f"training {arm.name}", step, total),
        )  # fmt: skip

    def finish(self) -> TrainingRecord:
        """Train what is left and write the record."""
        rows = self.method.rows(self.progress)
        self.steps_per_epoch = -(-len(rows.rows) // self.method.rows_per_update)
        self.callback.prepare(
            self.start, batch_rows=self.method.rows_per_update, rows=rows.rows,
            steps=self.steps_per_epoch * self.arm.config.epochs,
        )  # fmt: skip
        found = checkpoints.latest(self.arm.out / "resume")
        if found:
            self._restore(found[1])
        if not self.callback.stopped:
            built = self._trainer(rows)
            built.train(resume_from_checkpoint=str(found[0]) if found else None)
        if not self.done or self.callback.loss is None:
            raise InvalidRun("training ended without a checkpoint")
        record = self._record(rows)
        record.save(self.arm.out / RECORD)
        shutil.rmtree(self.arm.out / "resume")  # optimizer states; nothing is left to resume
        return record

    def _trainer(self, rows: Rows) -> Any:
        config, model = self.arm.config, self.start.model
        trainer.seed_everything(config.seed)
        if config.adapter:
            model = adapters.add_adapter(model, config, task=self.method.task)
            self._keep_initial(model)
        common = trainer.shared_arguments(
            config, folder=self.arm.out / "resume", cpu=self.start.device.type == "cpu"
        )
        built = self.method.trainer(model, rows, self.callback, common)
        built.add_callback(DivergenceGuard(config.diverges))
        for watcher in self.watchers:
            built.add_callback(watcher)
        return built

    def _keep_initial(self, model: Any) -> None:
        """Save the factors that PiSSA or OLoRA took out of the base, or see that they are equal."""
        if self.initial is None:
            return
        now = adapters.factors(model)
        if not self.initial.is_file():
            save_file(now, self.initial)
            return
        before = load_file(self.initial)
        if before.keys() != now.keys() or any(not torch.equal(before[k], now[k]) for k in now):
            raise IntegrityError(
                f"{self.arm.config.init} splits the base otherwise than when this arm was started",
                got="other factors on this machine or with these libraries",
                next_step=f"resume where it was started, or delete {self.arm.out}",
            )

    def _saved(self, folder: Path, callback: HoldfastCallback, live: LoadedModel) -> None:
        """Export, name and seal a checkpoint of the Trainer, then have it evaluated."""
        step = int(folder.name.split("-")[1])
        model = self.arm.out / "epochs" / f"{step:06d}"
        checkpoints.export(folder, model, initial=self.initial)
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
            last, config = self.done[-1], self.arm.config
            model = artefacts.open_result(
                self.arm.out / last.path, start_folder(config, self.arm.base, self.arm.out),
                dtype=config.dtype, device=config.device,
            )  # fmt: skip
            self.on_epoch(last.step, last.epoch, model)

    def _digest(self, folder: Path) -> str:
        if not self.arm.config.adapter or self.start.ref is None:
            return describe(folder).model_digest
        return describe_adapter(folder, self.start.ref).model_digest

    def _record(self, rows: Rows) -> TrainingRecord:
        arm, callback = self.arm, self.callback
        protection = "none"
        if arm.protection:
            protection = f"{arm.protection.name} {canonical_json(arm.protection.settings())}"
        return TrainingRecord(
            arm=arm.name, base=self.base_digest,
            method=f"{getattr(arm.config, 'method', '')}+{arm.config.tuner}",
            protection=protection, inputs=arm.inputs(self.base_digest), seed=arm.config.seed,
            steps=callback.weights_step, protected_steps=callback.protected_steps,
            protections=callback.protection_reports(),
            train_seconds=callback.clock.training,
            monitor_seconds=callback.clock.parts.get("monitor", 0.0),
            protection_seconds=callback.clock.parts.get("protection", 0.0),
            final_loss=callback.loss or 0.0, checkpoints=tuple(self.done),
            trajectory=tuple(callback.points), alarms=tuple(callback.alarms),
            environment={
                **{name: version(name) for name in ("torch", "transformers", "trl", "peft")},
                "device": str(self.start.device), "rows": str(len(rows.rows)),
                "rows_truncated": str(rows.truncated), "rows_dropped": str(rows.dropped),
                "start": self.start.digest,
            },
        )  # fmt: skip


def _guardable(arm: ArmSpec, method: str) -> None:
    """Refuse a protection that is unsound for this arm, before anything is loaded."""
    config = arm.config
    setting = Setting(
        method=method, tuner=config.tuner, init=config.init, deploy=config.deploy,
        on_alarm=arm.watch.on_alarm,
    )  # fmt: skip
    parts = arm.protection.parts if arm.protection else ()
    refuse([part.name for part in parts], setting)


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
