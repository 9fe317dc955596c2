"""The callback on hand-made events: what it refuses, what it demands, what it does on an alarm."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from holdfast.core.errors import DataError, InvalidRun, UsageError
from holdfast.core.records import MonitorPoint
from holdfast.geometry.contrast import ContrastRow, Openings
from holdfast.geometry.probe import ProbeSet
from holdfast.geometry.safety_map import fit
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.callback import HoldfastCallback
from holdfast.tuning.monitor import AlarmRule, Monitor
from holdfast.tuning.rollback import Snapshot

from .conftest import OPENINGS, PROMPTS


def _args(**changed):
    plain = {
        "deepspeed": None, "fsdp": None, "world_size": 1, "n_gpu": 0, "fp16": False,
        "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "output_dir": "nowhere",
    }  # fmt: skip
    return SimpleNamespace(**{**plain, **changed})


class Script(Monitor):
    """A monitor that sees what the test tells it."""

    def __init__(self, shares):
        super().__init__(PROMPTS, OPENINGS)
        self.shares = iter(shares)

    def prepare(self, base):
        self._base = SimpleNamespace(share=0.0, answers=[], log_probs=None)

    def observe(self, live, step, loss, *, explain=True):
        share = next(self.shares)
        return MonitorPoint(
            step=step, loss=loss, margin=0.0, negative_share=share, first_token_kl=0.0,
            drifts={}, seconds=0.0, alarm=share > self.threshold,
        )  # fmt: skip


class Loop:
    """The events of a Trainer, by hand, around one real parameter and optimizer."""

    def __init__(self, callback, loaded):
        self.callback, self.model = callback, loaded.model
        self.weight = loaded.model.get_input_embeddings().weight
        self.optimizer = torch.optim.AdamW([self.weight], lr=0.1)
        self.state = SimpleNamespace(global_step=0, max_steps=100)
        self.control = SimpleNamespace(
            should_training_stop=False, should_save=False, should_evaluate=False
        )
        self.extra = {
            "model": self.model, "processing_class": loaded.tokenizer, "optimizer": self.optimizer
        }  # fmt: skip
        for name, p in self.model.named_parameters():
            p.requires_grad = p is self.weight and bool(name)

    def event(self, name, **more):
        getattr(self.callback, name)(_args(), self.state, self.control, **self.extra, **more)

    def step(self):
        self.event("on_step_begin")
        self.weight.grad = torch.ones_like(self.weight)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state.global_step += 1
        self.event("on_step_end")


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"deepspeed": {"zero": 2}}, "replay_kl is not tested under deepspeed"),
        ({"fsdp": ["full_shard"]}, "FSDP1"),
        ({"n_gpu": 2}, "more than one GPU"),
        ({"fp16": True}, "GradScaler"),
    ],
)
def test_what_cannot_be_guarded_is_refused(loaded, replay, changed, what):
    callback = HoldfastCallback(protection=replay)
    loop = Loop(callback, loaded)
    with pytest.raises(UsageError, match=what):
        callback.on_train_begin(_args(**changed), loop.state, loop.control, **loop.extra)


def test_a_resumed_run_must_have_seen_the_base_before(loaded, replay):
    loop = Loop(HoldfastCallback(protection=replay), loaded)
    loop.state.global_step = 5
    with pytest.raises(UsageError, match="resumed"):
        loop.event("on_train_begin")


def test_a_lost_gradient_is_an_invalid_run(loaded, replay):
    loop = Loop(HoldfastCallback(protection=replay), loaded)
    loop.event("on_train_begin")
    loop.event("on_step_begin")
    loop.event("on_pre_optimizer_step")
    assert loop.callback.protected_steps == 1
    loop.model.zero_grad()
    loop.event("on_step_begin")
    loop.model.zero_grad()
    loop.weight.grad = torch.ones_like(loop.weight)  # the task's gradient alone
    with pytest.raises(InvalidRun, match="lost"):
        loop.event("on_pre_optimizer_step")


def test_a_step_without_its_check_or_a_run_without_any_is_invalid(loaded, replay):
    loop = Loop(HoldfastCallback(protection=replay), loaded)
    loop.event("on_train_begin")
    with pytest.raises(InvalidRun, match="0 of 0"):
        loop.event("on_train_end")
    loop.event("on_step_begin")  # a framework without on_pre_optimizer_step
    with pytest.raises(InvalidRun, match="0 of 1"):
        loop.event("on_train_end")


def test_frozen_models_cannot_be_protected(loaded, replay):
    loop = Loop(HoldfastCallback(protection=replay), loaded)
    loop.event("on_train_begin")
    loop.weight.requires_grad = False
    with pytest.raises((InvalidRun, RuntimeError)):
        loop.event("on_step_begin")


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_end_the_run(loaded, name, value):
    loop = Loop(HoldfastCallback(), loaded)
    with pytest.raises(InvalidRun, match="not a number at step 0"):
        loop.event("on_log", logs={"loss": 1.0, name: value})


def test_the_rule_needs_both_a_rise_and_enough_prompts():
    rule = AlarmRule()
    assert rule.threshold(0.0, 1000) == pytest.approx(0.10)
    for turned, fires in ((2, False), (3, True)):
        assert (turned / 10 > rule.threshold(0.0, 10)) is fires
    assert rule.threshold(0.95, 100) > 1  # a base that was never aligned cannot alarm


def test_logging_keeps_going_and_records_each_rise_once(loaded):
    monitor = Script([0, 0.2, 0.9, 0.9, 0.2, 0.9])
    loop = Loop(HoldfastCallback(monitor=monitor), loaded)
    loop.event("on_train_begin")
    for _ in range(5):
        loop.step()
    assert [a.step for a in loop.callback.alarms] == [2, 5]
    assert [a.action for a in loop.callback.alarms] == ["log", "log"]
    assert [p.alarm for p in loop.callback.points] == [False, False, True, True, False, True]
    assert not loop.control.should_training_stop


def test_stop_stops_and_leaves_the_weights(loaded):
    loop = Loop(HoldfastCallback(monitor=Script([0, 0, 0.9]), on_alarm="stop"), loaded)
    loop.event("on_train_begin")
    loop.step()
    before = loop.weight.detach().clone()
    loop.step()
    assert loop.control.should_training_stop
    assert loop.callback.stopped
    assert not torch.equal(before, loop.weight)
    assert loop.callback.weights_step == 2


def test_rollback_restores_weights_and_optimizer_of_the_last_passing_step(loaded):
    loop = Loop(HoldfastCallback(monitor=Script([0, 0, 0.2, 0.9]), on_alarm="rollback"), loaded)
    loop.event("on_train_begin")
    loop.step()
    loop.step()
    weight = loop.weight.detach().clone()
    moments = {k: v.clone() for k, v in loop.optimizer.state[loop.weight].items()}
    loop.step()
    assert torch.equal(weight, loop.weight)
    assert all(torch.equal(v, loop.optimizer.state[loop.weight][k]) for k, v in moments.items())
    assert loop.callback.weights_step == 2
    assert loop.callback.alarms[0].action == "rollback"
    assert loop.control.should_training_stop


def test_a_snapshot_can_be_used_twice(loaded):
    loop = Loop(HoldfastCallback(), loaded)
    loop.step()
    snapshot = Snapshot(1, loop.model, loop.optimizer)
    ends = []
    for _ in range(2):
        loop.step()
        ends.append(loop.weight.detach().clone())
        snapshot.restore(loop.model, loop.optimizer)
    assert torch.equal(*ends)


def test_state_round_trip(loaded):
    loop = Loop(HoldfastCallback(monitor=Script([0, 0.9]), on_alarm="stop"), loaded)
    loop.event("on_train_begin")
    loop.step()
    other = HoldfastCallback(monitor=Script([]), on_alarm="stop")
    state = loop.callback.state()
    other.restore(state)
    assert other.points == loop.callback.points
    assert other.alarms == loop.callback.alarms
    assert other.stopped
    assert other.weights_step == 1


def test_a_real_observation_leaves_no_trace_and_sees_zero_at_the_base(loaded, monitor):
    monitor.prepare(loaded)
    loaded.model.train()
    before = torch.get_rng_state()
    point = monitor.observe(LoadedModel.live(loaded.model, loaded.tokenizer), 0, None)
    assert loaded.model.training
    assert torch.equal(before, torch.get_rng_state())
    assert point.first_token_kl == pytest.approx(0.0, abs=1e-6)
    assert not point.alarm
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight.mul_(0.3)
    moved = monitor.observe(LoadedModel.live(loaded.model, loaded.tokenizer), 1, 2.0)
    assert moved.first_token_kl > 0.01
    assert moved.margin != point.margin


def test_bad_monitor_inputs_are_named(loaded):
    with pytest.raises(DataError, match="no probe prompts"):
        Monitor([], OPENINGS)
    with pytest.raises(DataError, match="no 'compliance' texts"):
        Monitor(PROMPTS, {"refusal": ["I cannot"]})
    with pytest.raises(UsageError, match="on_alarm"):
        HoldfastCallback(on_alarm="shout")
    with pytest.raises(UsageError, match="probe"):
        HoldfastCallback(on_alarm="stop")


def test_with_a_safety_map_the_drifts_are_seen_and_zero_at_the_base(loaded):
    fitted = fit(loaded, _contrast(), Openings(**_TEXTS), seed=0, allow_ineligible=True)
    probe = ProbeSet.pick(fitted, seed=0, harmful=4, harmless=4)
    loop = Loop(HoldfastCallback(fitted, probe, Openings(**_TEXTS), every=1), loaded)
    loop.event("on_train_begin")
    loop.step()
    first, second = loop.callback.points
    site = fitted.sites[0].name
    assert set(first.drifts) >= {f"direction_collapse@{site}", f"subspace_rotation@{site}"}
    assert all(abs(value) < 1e-3 for value in first.drifts.values())
    assert any(abs(value) > 1e-3 for value in second.drifts.values())
    with pytest.raises(UsageError, match=r"ProbeSet\.pick"):
        HoldfastCallback(fitted, PROMPTS, OPENINGS)


_TEXTS = {"refusal": ("I cannot", "Not that"), "compliance": ("Sure", "Here is")}


def _contrast():
    return [
        ContrastRow(
            "harmful", category, label, split, f"{category}-{label}-{split}-{i}",
            [{"role": "user", "content": f"{'Break' if label else 'Mend'} the {category} {i}"}],
        )
        for category in ("net", "lamp")
        for label in (0, 1)
        for split in ("train", "validation", "test")
        for i in range(4)
    ]  # fmt: skip
