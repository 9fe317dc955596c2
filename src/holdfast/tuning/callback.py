"""The one place through which Holdfast acts on a training run.

A plain `transformers.TrainerCallback`: give it to a Trainer or to any TRL trainer.

    step begin       protections add their gradients; clipping will see their sum with the task's
    before the step  those must still be there; protections of the whole gradient act
    after the step   protections of the weights act
    step end         the monitor looks; the alarm logs, stops, or rolls back and stops
    train end        the guarded steps are counted: a guard that did not act is an error
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transformers.trainer_callback import TrainerCallback

from holdfast.core.errors import InvalidRun, UsageError
from holdfast.core.protocols import Messages, Progress, no_progress
from holdfast.core.records import Alarm, MonitorPoint, ProtectionReport
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.monitor import Monitor
from holdfast.tuning.monitors.looking import Looking
from holdfast.tuning.protections.base import Protection, TokenRow
from holdfast.tuning.protections.ledger import Ledger
from holdfast.tuning.protections.reading import read_setting
from holdfast.tuning.rollback import Snapshot
from holdfast.tuning.schedule import EXPLAIN_EVERY, Schedule
from holdfast.tuning.timing import Clock

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from holdfast.geometry.contrast import Openings
    from holdfast.geometry.probe import ProbeSet
    from holdfast.geometry.safety_map import FittedMap

OnAlarm = Literal["log", "stop", "rollback"]
OnSave = Callable[[Path, "HoldfastCallback", LoadedModel], None]
"""Called after the Trainer has written a checkpoint: folder, callback, live model."""


class HoldfastCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Monitor and protection of one run; see the module's text.

    Args:
        safety_map: a `geometry.safety_map.FittedMap` for the drifts, or None for none.
        probe: harmful prompts to watch (conversations, or a `geometry.probe.ProbeSet`), or None
            for no monitor.
        openings: starts of answers, {"refusal": [...], "compliance": [...]}; needed with `probe`.
        every: "auto", or observe on every n-th step.
        on_alarm: `log` goes on, `stop` ends training, `rollback` puts the weights of the last
            passing observation back and ends training.
        protection: what guards the steps, or None.
        monitor: a ready `Monitor` in place of the first three.
        budget: share of training time for observations; the dense phase is not cut short for it.
        dense: steps of the dense phase, each of which is observed.
        on_save: called after each checkpoint.
        progress: called after each step.
    """

    def __init__(
        self,
        safety_map: FittedMap | None = None,
        probe: ProbeSet | Sequence[Messages] | None = None,
        openings: Openings | Mapping[str, Sequence[str]] | None = None,
        every: int | Literal["auto"] = "auto",
        on_alarm: OnAlarm = "log",
        protection: Protection | None = None,
        *,
        monitor: Monitor | None = None,
        budget: float = 0.02,
        dense: int = 20,
        on_save: OnSave | None = None,
        progress: Progress = no_progress,
    ) -> None:
        if on_alarm not in ("log", "stop", "rollback"):
            raise UsageError("on_alarm", got=repr(on_alarm), expected="log, stop or rollback")
        if monitor is None and probe is not None:
            monitor = Monitor.of(probe, openings or {}, safety_map)
        if monitor is None and (safety_map is not None or on_alarm != "log"):
            raise UsageError("the monitor has no probe prompts", next_step="give it `probe`")
        self.monitor, self.protection, self.on_alarm = monitor, protection, on_alarm
        self.ledger = Ledger(protection)
        if monitor is None and self.ledger.watches:
            raise UsageError(
                "a protection that is steered needs the monitor", next_step="give it `probe`"
            )
        self.schedule = Schedule(every, dense=dense, budget=budget)
        self.clock = Clock()
        self.points: list[MonitorPoint] = []
        self.alarms: list[Alarm] = []
        self.weights_step = 0
        """Step whose weights the model holds; smaller than the Trainer's after a rollback."""
        self.stopped = False
        self.finished = False
        """Whether training has ended, and every protection acted on every step."""
        self.loss: float | None = None
        """Training loss last logged."""
        self._on_save, self._progress = on_save, progress
        self._live: LoadedModel | None = None
        self._passing: Snapshot | None = None

    @property
    def _looking(self) -> Looking | None:
        return self.monitor.looking if self.monitor else None

    @property
    def protected_steps(self) -> int:
        """Steps on which the protection really acted; of several protections, the fewest."""
        return self.ledger.protected_steps

    def protection_reports(self) -> tuple[ProtectionReport, ...]:
        """What each protection did, for the training record."""
        return self.ledger.reports()

    def prepare(
        self, base: LoadedModel, *, batch_rows: int, rows: Sequence[TokenRow] = (), steps: int = 0
    ) -> None:
        """Show the untouched base to monitor and protection; done at train begin if not before.

        Args:
            base: the model before any adapter or update.
            batch_rows: rows of one update on one device.
            rows: the training rows as token ids, for protections that must know them.
            steps: optimizer steps of the whole run, 0 where unknown.
        """
        if self.monitor and not self.monitor.prepared:
            with self.clock.part("monitor"):
                self.monitor.prepare(base)
        if self._looking:
            self._looking.know(rows)
        with self.clock.part("protection"):
            self.ledger.prepare(base, batch_rows=batch_rows, rows=rows, steps=steps)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuse what cannot be guarded, see the base, and observe step 0."""
        model, tokenizer = kwargs["model"], kwargs["processing_class"]
        setting = read_setting(args, model, on_alarm=self.on_alarm)
        self.ledger.refuse(setting)
        self._live = live = LoadedModel.live(model, tokenizer)
        ready = self.ledger.prepared and (self.monitor is None or self.monitor.prepared)
        if not ready and state.global_step:
            raise UsageError(
                "a resumed run no longer holds the base that monitor and protection must see",
                next_step="call callback.prepare(base, batch_rows=…) before training",
            )
        rows = args.per_device_train_batch_size * args.gradient_accumulation_steps
        dataset = getattr(kwargs.get("train_dataloader"), "dataset", None) or ()
        self.prepare(live, batch_rows=rows, rows=dataset, steps=state.max_steps)
        checkpoint = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        self.ledger.attach(model, setting, resumed=checkpoint if state.global_step else None)
        if self._looking:
            self._looking.attach(model)
        self.clock.start()
        optimizer = kwargs.get("optimizer")
        if self.monitor and state.global_step == 0:
            self._observe(0, optimizer, control)
        elif self.on_alarm == "rollback" and self.points and not self.points[-1].alarm:
            self._passing = Snapshot(state.global_step, model, optimizer)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the protections act before the forward passes; gradients are zero here."""
        if self._looking:
            self._looking.begin(state.global_step + 1)
        with self.clock.part("protection"):
            self.ledger.begin(kwargs["model"], state.global_step)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let them act on the whole gradient, of which theirs must still be a part."""
        if self._looking and self._live and self._looking.watch.awaits(state.global_step):
            with self.clock.part("monitor"):
                begin = time.perf_counter()
                self._looking.aligned(self._live, state.global_step)
                self.schedule.spent(time.perf_counter() - begin)
        with self.clock.part("protection"):
            self.ledger.before(kwargs["model"], state.global_step)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let them act on the new weights."""
        with self.clock.part("protection"):
            self.ledger.after(kwargs["model"], state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Observe if it is time, and act on an alarm."""
        step = self.weights_step = state.global_step
        self._progress("training", step, state.max_steps)
        due = self.schedule.due(step, self.clock.training)
        watched = self.monitor is not None and self.monitor.wants(step)
        if self.monitor and (due or watched or self.ledger.wants(step)):
            explain = None if due else step % EXPLAIN_EVERY == 0
            self._observe(step, kwargs.get("optimizer"), control, explain=explain)
        if control.should_save or control.should_evaluate:
            self.ledger.swap(kwargs["model"], result=True)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Observe every checkpoint, whatever the schedule says."""
        seen = self.points and self.points[-1].step == state.global_step
        if self.monitor and not seen:
            self._observe(state.global_step, kwargs.get("optimizer"), control)
        self.ledger.swap(kwargs["model"], result=True)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep the loss, and end a run whose numbers are no numbers before it is saved."""
        for name in ("loss", "grad_norm"):
            value = (logs or {}).get(name)
            if value is not None and not math.isfinite(float(value)):
                raise InvalidRun(
                    f"the {'training loss' if name == 'loss' else 'gradient'} is not a number "
                    f"at step {state.global_step}",
                    next_step="lower the learning rate; earlier checkpoints are intact",
                )
        if logs and "loss" in logs:
            self.loss = float(logs["loss"])

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Add what a resumed run needs to the finished checkpoint, and hand it over."""
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero:
            self.ledger.save(kwargs["model"], folder)
        if self._on_save and self._live:
            with self.clock.part("other"):
                self._on_save(folder, self, self._live)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Deliver the result, and refuse a run in which a protection missed a step."""
        self.clock.stop()
        if self._looking:
            self._looking.detach()
        self.ledger.finish(kwargs["model"])
        self.finished = True

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run must know, JSON-ready."""
        return {
            "points": [point.model_dump() for point in self.points],
            "alarms": [alarm.model_dump() for alarm in self.alarms],
            "protection": self.ledger.state(), "weights_step": self.weights_step,
            "stopped": self.stopped, "loss": self.loss,
            "schedule": self.schedule.state(), "clock": self.clock.state(),
            "watch": self._looking.watch.state() if self._looking else None,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of a checkpoint."""
        self.points = [MonitorPoint.model_validate(point) for point in state["points"]]
        self.alarms = [Alarm.model_validate(alarm) for alarm in state["alarms"]]
        self.ledger.restore(state["protection"])
        self.weights_step = state["weights_step"]
        self.stopped, self.loss = state["stopped"], state["loss"]
        self.schedule.restore(state["schedule"])
        self.clock.restore(state["clock"])
        if self._looking and state.get("watch"):
            self._looking.watch.restore(state["watch"])

    def _observe(
        self,
        step: int,
        optimizer: Any,
        control: TrainerControl,
        *,
        explain: bool | None = None,
    ) -> None:
        if self.monitor is None or self._live is None:
            return
        with self.clock.part("monitor"):
            point = self.monitor.observe(
                self._live,
                step,
                self.loss,
                explain=self.schedule.explains(step) if explain is None else explain,
            )
            if point.alarm and not (self.points and self.points[-1].alarm):
                blame = self.monitor.blame(self._live)  # before the weights may be put back
                action = self._react(self._live, optimizer)
                self.alarms.append(self.monitor.alarm(point, action, blame))
            elif not point.alarm and self.on_alarm == "rollback":
                self._passing = Snapshot(step, self._live.model, optimizer)
        self.points.append(point)
        self.ledger.observed(point)
        self.schedule.observed(step, point.seconds)
        if self.stopped:
            control.should_training_stop = True

    def _react(self, live: LoadedModel, optimizer: Any) -> str:
        """Act on an alarm; return the action that was really taken."""
        if self.on_alarm == "log":
            return "log"
        self.stopped = True
        if self.on_alarm == "stop" or self._passing is None:
            return "stop"
        self._passing.restore(live.model, optimizer)
        self.weights_step = self._passing.step
        return "rollback"
