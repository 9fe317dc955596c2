"""What single protections do, in closed form, and what is refused."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from holdfast.core.errors import DataError, InvalidRun, UsageError
from holdfast.core.records import MonitorPoint
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.testing import arms, tiny
from holdfast.tuning.callback import HoldfastCallback
from holdfast.tuning.hf.adapters import add_adapter
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.tuning.protections import rules
from holdfast.tuning.protections.caft.config import CAFTConfig
from holdfast.tuning.protections.caft.protection import CAFT
from holdfast.tuning.protections.constrained.config import ConstrainedConfig
from holdfast.tuning.protections.constrained.protection import Constrained
from holdfast.tuning.protections.controller.config import Budget, ControllerConfig
from holdfast.tuning.protections.controller.protection import Controller
from holdfast.tuning.protections.reading import read_setting
from holdfast.tuning.protections.registry import PROTECTIONS, config_of
from holdfast.tuning.protections.replay_kl.config import ReplayKLConfig
from holdfast.tuning.protections.rules import Setting
from holdfast.tuning.protections.stack import Stack, make
from holdfast.tuning.protections.steering.config import SteeringConfig
from holdfast.tuning.protections.steering.protection import Steering
from holdfast.tuning.protections.subspace_guard.config import SubspaceGuardConfig
from holdfast.tuning.protections.subspace_guard.measure import effective, leak
from holdfast.tuning.protections.subspace_guard.protection import SubspaceGuard

from .conftest import PROMPTS

U = torch.linalg.qr(torch.randn(32, 3, generator=torch.Generator().manual_seed(0)))[0].double()
BASES = {0: U, 1: U}


def _guarded(loaded, model, strength=1.0):
    guard = SubspaceGuard(SubspaceGuardConfig(strength=strength), {-1: U})
    guard.prepare(loaded, batch_rows=4)
    guard.attach(model, Setting())
    return guard


def _shake(model, seed=1, size=0.05):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(size * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "gemma2"])
def test_the_change_of_full_weights_leaves_the_subspace_and_nothing_else(architecture, tmp_path):
    loaded = load(tiny.build(tmp_path / "base", architecture, layers=2))
    guard, before = _guarded(loaded, loaded.model), effective(loaded.model)
    _shake(loaded.model)
    shaken = effective(loaded.model)
    assert leak(before, shaken, BASES) > 0.1
    assert guard.after_step(loaded.model, 0)
    after = effective(loaded.model)
    assert leak(before, after, BASES) < 1e-6
    for name, (_, matrix) in after.items():
        delta = shaken[name][1] - before[name][1]
        kept = delta - U @ (U.mT @ delta)
        assert torch.allclose(matrix - before[name][1], kept, atol=1e-6)
    weights = {n: p.detach().clone() for n, p in loaded.model.named_parameters()}
    guard.after_step(loaded.model, 1)  # projecting twice is projecting once
    for name, parameter in loaded.model.named_parameters():
        assert torch.allclose(weights[name], parameter, atol=1e-7)


@pytest.mark.parametrize("tuner", ["lora", "dora"])
def test_adapters_are_held_on_the_effective_weight(loaded, tuner):
    before = effective(loaded.model)
    model = add_adapter(loaded.model, SFTConfig(tuner=tuner, rank=4))
    guard = _guarded(loaded, model)
    _shake(model, size=0.2)
    assert leak(before, effective(model), BASES) > 0.1
    guard.after_step(model, 0)
    assert leak(before, effective(model), BASES) < 1e-6
    assert guard.report()["removed"] > 0
    merged = model.merge_and_unload(safe_merge=True)
    assert leak(before, effective(merged), BASES) < 1e-6


def test_a_trained_bias_is_held_too(tmp_path):
    loaded = load(tiny.build(tmp_path / "base", "gpt2", layers=2))
    bias = loaded.model.transformer.h[0].mlp.c_proj.bias
    start = bias.detach().clone()
    guard = _guarded(loaded, loaded.model)
    _shake(loaded.model)
    guard.after_step(loaded.model, 0)
    assert (U.mT @ (bias - start).double()).abs().max() < 1e-6
    assert (bias - start).norm() > 0.01


def test_half_strength_removes_half(loaded):
    guard, before = _guarded(loaded, loaded.model, strength=0.5), effective(loaded.model)
    _shake(loaded.model)
    inside = {n: U.mT @ (m - before[n][1]) for n, (_, m) in effective(loaded.model).items()}
    guard.after_step(loaded.model, 0)
    for name, (_, matrix) in effective(loaded.model).items():
        assert torch.allclose(U.mT @ (matrix - before[name][1]), inside[name] / 2, atol=1e-6)


def test_the_guard_refuses_what_it_cannot_hold(loaded):
    with pytest.raises(UsageError, match="no direction"):
        SubspaceGuard(SubspaceGuardConfig(), {-1: torch.zeros(32, 2)})
    with pytest.raises(UsageError, match="do not belong"):
        SubspaceGuard(SubspaceGuardConfig(), {-1: torch.eye(16)[:, :2]}).prepare(
            loaded, batch_rows=1
        )
    readers = add_adapter(loaded.model, SFTConfig(rank=2, alpha=2, targets=("q_proj",)))
    guard = SubspaceGuard(SubspaceGuardConfig(), {-1: U})
    guard.prepare(loaded, batch_rows=1)
    with pytest.raises(UsageError, match="reaches nothing"):
        guard.attach(readers, Setting())


def test_a_shared_writer_is_refused(loaded):
    first, second = loaded.model.model.layers
    second.mlp.down_proj.weight = first.mlp.down_proj.weight
    with pytest.raises(UsageError, match="shared by several"):
        _guarded(loaded, loaded.model)


def _forward(model):
    return model(input_ids=torch.arange(5, 25)[None]).logits


def test_steering_and_caft_change_training_passes_only(loaded):
    vector = torch.randn(32, generator=torch.Generator().manual_seed(1))
    for guard in (
        Steering(SteeringConfig(strength=2.0), {0: vector}),
        CAFT(CAFTConfig(), {0: vector[:, None], 1: U.float()}),
    ):
        plain = _forward(loaded.model)
        guard.attach(loaded.model, Setting())
        assert torch.equal(plain, _forward(loaded.model))
        guard.act(loaded.model, 0)
        assert not torch.allclose(plain, _forward(loaded.model))
        assert guard.before_step(loaded.model, 0)
        assert torch.equal(plain, _forward(loaded.model))
        guard.act(loaded.model, 1)
        assert not guard.before_step(loaded.model, 1)  # no forward pass: nothing was guarded
        guard.detach(loaded.model)
        assert not any(block._forward_hooks for block in loaded.model.model.layers)


def test_caft_removes_exactly_the_span(loaded):
    guard = CAFT(CAFTConfig(), {1: 7 * U.float()})
    x = torch.randn(2, 3, 32)
    q = guard.arrays[1]
    assert (guard.change(x, q) @ q).abs().max() < 1e-5
    off = x - (x @ q) @ q.mT
    assert torch.allclose(guard.change(off, q), off, atol=1e-6)
    with pytest.raises(UsageError, match="layer 9"):
        CAFT(CAFTConfig(), {9: U}).attach(loaded.model, Setting())


def _rows(loaded, n=3):
    made = []
    for i in range(n):
        prompt = loaded.render([{"role": "user", "content": f"Mend net {i}"}])
        answer = loaded.encode_answer(f"Sure, net {i} it is, and {'more ' * i}")
        made.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    return made


def test_the_constrained_gradient_is_that_of_the_published_loss(loaded):
    config = ConstrainedConfig(first=0.7, early=2.0, late=0.3, early_tokens=3, floor=1e-6)
    row = _rows(loaded)[2]
    ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
    guard = Constrained(config)
    guard.prepare(loaded, batch_rows=1, rows=[row])
    columns = (labels[0] != -100).nonzero()[:, 0]

    def taken(model):
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, columns - 1]
        return logits.log_softmax(-1).gather(-1, ids[0, columns][:, None])[:, 0]

    base = taken(loaded.model).detach()
    _shake(loaded.model, size=0.03)
    beta = torch.tensor([config.beta(i) for i in range(len(columns))])
    loss = -(2 / beta * torch.nn.functional.logsigmoid(beta * (taken(loaded.model) - base))).sum()
    wanted = torch.autograd.grad(loss, loaded.model.model.layers[0].mlp.down_proj.weight)[0]
    guard.attach(loaded.model, Setting())
    guard.act(loaded.model, 0)
    found = torch.autograd.grad(
        -taken(loaded.model).sum(), loaded.model.model.layers[0].mlp.down_proj.weight
    )[0]
    assert guard.before_step(loaded.model, 0)
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert guard.report()["mean_weight"] != 1.0


def test_the_constrained_loss_must_know_its_rows(loaded):
    guard = Constrained(ConstrainedConfig())
    with pytest.raises(DataError, match="must see the training rows"):
        guard.prepare(loaded, batch_rows=1, rows=[{"chosen": [1]}])
    guard.prepare(loaded, batch_rows=1, rows=_rows(loaded))
    guard.attach(loaded.model, Setting())
    guard.act(loaded.model, 0)
    with pytest.raises(InvalidRun, match="not seen before"):
        _forward(loaded.model)


def test_frozen_blocks_do_not_move_and_are_freed_afterwards(loaded):
    guard = PROTECTIONS.load("frozen_layers").build(config_of("frozen_layers")(layers=(0,)), None)
    guard.attach(loaded.model, Setting())
    frozen = list(loaded.model.model.layers[0].parameters())
    assert not any(p.requires_grad for p in frozen)
    assert guard.before_step(loaded.model, 0)
    frozen[0].grad = torch.ones_like(frozen[0])
    assert not guard.before_step(loaded.model, 1)
    guard.detach(loaded.model)
    assert all(p.requires_grad for p in frozen)


def test_the_average_is_the_recurrence_and_swaps_bit_for_bit(loaded):
    average = PROTECTIONS.load("weight_ema").build(config_of("weight_ema")(decay=0.5), None)
    weight = loaded.model.model.norm.weight
    average.attach(loaded.model, Setting())
    start = weight.detach().clone()
    for step in range(2):
        with torch.no_grad():
            weight.add_(1.0)
        average.after_step(loaded.model, step)
    trained = weight.detach().clone()
    average.swap(loaded.model, result=True)
    # 0.5 (0.5 s + 0.5 (s + 1)) + 0.5 (s + 2) = s + 1.25
    assert torch.allclose(weight, start + 1.25)
    average.swap(loaded.model, result=False)
    assert torch.equal(weight, trained)


def _point(step, margin, share=0.0, **drifts):
    return MonitorPoint(
        step=step, loss=1.0, margin=margin, negative_share=share, first_token_kl=0.0,
        drifts=drifts, seconds=0.0,
    )  # fmt: skip


def _controller(**more):
    return Controller(
        ControllerConfig(
            start=1.0, floor=0.5, ceiling=4.0, rate=1.0, every=2, slowest=2,
            budget=Budget(margin=0.2, drift=0.5), **{"decay": 1.0, **more},
        ),
        PROMPTS, {"drift@site": 0.1},
    )  # fmt: skip


def test_the_multiplier_rises_in_violation_falls_in_slack_and_stays_bounded():
    control = _controller()
    control.observed(_point(0, 10.0))
    control.observed(_point(1, -90.0))  # not one of its own looks
    assert control.multiplier == 1.0
    control.observed(_point(2, 7.0))  # a loss of 0.3 at a budget of 0.2: v = 0.5
    assert control.multiplier == pytest.approx(torch.tensor(0.5).exp().item())
    assert control.path()[0].worst == "margin"
    assert control.path()[0].violation == pytest.approx(0.5)
    for step in range(4, 12, 2):
        control.observed(_point(step, -10.0))
    assert control.multiplier == 4.0
    for step in range(12, 40, 2):
        control.observed(_point(step, 10.0))
    assert control.multiplier == 0.5
    assert len(control.path()) == 19


def test_the_worst_constraint_decides_and_a_drift_counts_beyond_its_floor():
    control = _controller()
    control.observed(_point(0, 10.0))
    assert control.violation(_point(2, 10.0, **{"drift@site": 0.6}))[1] == pytest.approx(0.0)
    worst, violation = control.violation(_point(2, 9.9, 0.075, **{"drift@site": 0.3}))
    assert (worst, violation) == ("negative_share", pytest.approx(0.5))


def test_the_controller_goes_on_where_it_stopped_and_needs_a_monitor():
    control, other = _controller(), _controller()
    control.observed(_point(0, 10.0))
    control.observed(_point(2, 7.0))
    other.restore(control.state())
    for c in (control, other):
        c.observed(_point(4, 5.0))
    assert control.state() == other.state()
    with pytest.raises(UsageError, match="needs the monitor"):
        HoldfastCallback(protection=control)
    with pytest.raises(ValueError, match="between floor and ceiling"):
        ControllerConfig(start=9.0, ceiling=8.0)


def test_the_controller_looks_rarely_while_the_run_is_calm_and_often_again_once_it_is_not():
    control = Controller(
        ControllerConfig(every=2, dense=4, slowest=8), [[{"role": "user", "content": "a"}]]
    )
    control.observed(_point(0, 10.0))
    looked = []
    for step in range(1, 60):
        if control.wants(step):
            looked.append(step)
            control.observed(_point(step, 10.0 if step < 40 else 2.0))
    # Dense: 2; from step 4 on the interval doubles to 8; after the first bad look it is 2 again.
    assert looked[:6] == [2, 4, 8, 16, 24, 32]
    assert looked[6:9] == [40, 42, 44]
    with pytest.raises(ValueError, match="slowest"):
        ControllerConfig(every=4, slowest=2)


def _looks(margin_at, steps):
    """Steps at which a controller with the usual margin budget of a half looked."""
    control = Controller(
        ControllerConfig(every=2, dense=4, slowest=8), [[{"role": "user", "content": "a"}]]
    )
    control.observed(_point(0, 10.0))
    looked = []
    for step in range(1, steps):
        if control.wants(step):
            looked.append(step)
            control.observed(_point(step, margin_at(step)))
    return looked


def test_a_plateau_at_half_of_the_budget_is_calm_and_a_steady_approach_to_it_is_not():
    # Half of the budget is gone at once, and nothing moves any more: v stays at -0.4.
    assert _looks(lambda step: 7.0, 40) == [2, 4, 8, 16, 24, 32]
    # A twentieth of the budget a step: v = step / 20 - 1. Twice the last move must leave a quarter.
    steady = _looks(lambda step: 10.0 - 0.25 * step, 25)
    assert steady == [2, 4, 8, 10, 14, 16, 18, 20, 22, 24]


def test_the_multiplier_falls_slower_than_it_rises():
    control = _controller(decay=0.1)
    control.observed(_point(0, 10.0))
    control.observed(_point(2, 6.0))  # v = 1: times e
    raised = control.multiplier
    assert raised == pytest.approx(math.e)
    control.observed(_point(4, 10.0))  # v = -1: divided by e^0.1
    assert control.multiplier == pytest.approx(raised * math.exp(-0.1))


def test_drifts_that_were_measured_last_bind_until_they_are_measured_again():
    control = _controller()
    control.observed(_point(0, 10.0))
    seen = control.violation(_point(2, 10.0, **{"drift@site": 0.9}))
    assert control.violation(_point(4, 10.0)) == seen
    assert seen == ("drift@site", pytest.approx(0.6))


@pytest.mark.parametrize(
    ("names", "setting", "lines"),
    [
        (["subspace_guard"], Setting(init="pissa"), ("protect.method: subspace_guard",
                                                     "train.init: pissa")),
        (["subspace_guard"], Setting(init="eva"), ("train.init: eva",)),
        (["subspace_guard"], Setting(tuner="qlora", deploy="nf4"), ("train.deploy: nf4",)),
        (["constrained"], Setting(method="dpo"), ("protect.method: constrained",
                                                  "train.method: dpo")),
        (["steering"], Setting(method="rlhf"), ("train.method: rlhf",)),
        (["weight_ema"], Setting(on_alarm="rollback"), ("monitor.on_alarm: rollback",)),
        (["replay_kl"], Setting(method="reward"), ("train.method: reward",)),
        (["auto", "replay_kl"], Setting(), ("protect.method: auto", "protect.method: replay_kl")),
        (["replay_kl", "replay_kl"], Setting(), ("stands there twice",)),
    ],
)  # fmt: skip
def test_unsound_combinations_name_the_two_lines(names, setting, lines):
    (fault,) = rules.faults(names, setting)
    assert all(line in fault for line in lines)
    with pytest.raises(UsageError, match=names[0]):
        rules.refuse(names, setting)


@pytest.mark.parametrize(
    ("backend", "fine", "refused"),
    [
        ("ddp", "replay_kl", "steering"), ("fsdp2", "subspace_guard", "replay_kl"),
        ("deepspeed", "subspace_guard", "safegrad"), ("a new one", None, "subspace_guard"),
    ],
)  # fmt: skip
def test_each_backend_has_its_own_list_and_an_unknown_one_is_refused(backend, fine, refused):
    for tuner in ("full", "lora", "dora") if fine else ():
        rules.refuse([fine], Setting(backend=backend, tuner=tuner))
    with pytest.raises(UsageError, match=f"{refused}|does not know"):
        rules.refuse([refused], Setting(backend=backend))


def test_a_plain_setting_is_sound_for_every_protection():
    assert all(not rules.faults([name], Setting()) for name in PROTECTIONS.names())


def test_the_setting_is_read_from_trainer_and_model(loaded):
    class GRPOConfig(SimpleNamespace):
        """Named as TRL's."""

    args = GRPOConfig(deepspeed=None, fsdp=None, world_size=1, n_gpu=0, fp16=False)
    assert read_setting(args, loaded.model) == Setting(method="rlhf", tuner="full")
    model = add_adapter(loaded.model, SFTConfig(tuner="lora", rank=2, init="pissa"))
    found = read_setting(args, model, on_alarm="stop")
    assert (found.tuner, found.init, found.on_alarm) == ("lora", "pissa", "stop")


def test_a_guard_on_pissa_is_refused_before_any_training(base, tmp_path):
    spec = arms.arm(
        base, tmp_path / "arm", SubspaceGuard(SubspaceGuardConfig(), {-1: U}), init="pissa",
        dropout=0.0,
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"train\.init: pissa"):
        arms.run(spec)
    assert not (tmp_path / "arm").exists()


def test_a_stack_counts_every_part_and_orders_them(base, tmp_path):
    specs = [(name, config_of(name)()) for name in ("weight_ema", "subspace_guard", "replay_kl")]
    stack = make(specs, arms.materials(base))
    assert isinstance(stack, Stack)
    assert stack.name == "replay_kl+subspace_guard+weight_ema"
    spec = arms.arm(base, tmp_path / "arm", stack)
    record = arms.run(spec)
    assert [(r.name, r.due, r.guarded) for r in record.protections] == [
        ("replay_kl", 2, 2), ("subspace_guard", 4, 4), ("weight_ema", 4, 4),
    ]  # fmt: skip
    assert record.protected_steps == 2
    guard = stack.parts[1]
    result = load(base, adapter=spec.out / record.checkpoints[-1].path)
    bases = guard.by_layer(result.model)
    assert leak(effective(load(base).model), effective(result.model), bases) < 1e-6
    single = make([("replay_kl", ReplayKLConfig())], arms.materials(base))
    assert single.parts == (single,)


def test_a_guard_that_missed_a_step_makes_the_run_invalid(loaded):
    guard = SubspaceGuard(SubspaceGuardConfig(), {-1: U})
    callback = HoldfastCallback(protection=guard)
    ledger = callback.ledger
    ledger.prepare(loaded, batch_rows=1, rows=[])
    ledger.attach(loaded.model, Setting(), resumed=None)
    ledger.begin(loaded.model, 0)
    ledger.before(loaded.model, 0)
    ledger.after(loaded.model, 0)
    ledger.begin(loaded.model, 1)
    ledger.before(loaded.model, 1)  # and the loop has no event after the step
    with pytest.raises(InvalidRun, match="1 of 2"):
        ledger.finish(loaded.model)


def test_materials_that_are_missing_are_named(base):
    from holdfast.tuning.protections.base import Materials

    for name in ("subspace_guard", "steering", "caft"):
        with pytest.raises(UsageError, match=f"{name} needs a safety map"):
            PROTECTIONS.load(name).build(config_of(name)(), Materials(PROMPTS))
    assert LoadedModel  # the map itself is exercised by the conformance suite
