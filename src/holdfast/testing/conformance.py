"""What every protection must satisfy, built in or a plug-in, as checks that raise.

    from holdfast.testing import arms, conformance, tiny
    base = tiny.build(folder / "base", layers=2)
    conformance.check_protection("my_protection", base, folder)

Each check trains real arms on a tiny random model; a failure is an `AssertionError` that says which
property does not hold.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.records import TrainingRecord
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.testing import arms
from holdfast.tuning.protections.base import Materials, Protection
from holdfast.tuning.protections.registry import PROTECTIONS
from holdfast.tuning.protections.rules import Setting, faults

Where = dict[str, Any]
"""`method`, `tuner` and other settings of an arm; see `arms.arm`."""


class _Crash(BaseException):
    """Stands for a kill: no `except Exception` can catch it."""


def sound(name: str, method: str, tuner: str) -> bool:
    """Whether the protection is accepted for this method and tuner."""
    return not faults([name], Setting(method=method, tuner=tuner))


def made(name: str, materials: Materials, *, off: bool = False, **settings: Any) -> Protection:
    """A fresh protection by name; with `off`, at strength zero."""
    kind = PROTECTIONS.load(name)
    built: Protection = kind.build(kind.Config(**(kind.OFF if off else {}), **settings), materials)
    return built


def check_protection(name: str, base: Path, folder: Path, **where: Any) -> None:
    """Every check below, for one protection on one kind of arm; `folder` is scratch."""
    materials = arms.materials(base)
    check_off_changes_nothing(name, base, folder / "off", materials, **where)
    check_resume(name, base, folder / "resume", materials, **where)


def check_off_changes_nothing(
    name: str,
    base: Path,
    folder: Path,
    materials: Materials,
    *,
    plain: dict[str, Tensor] | None = None,
    **where: Any,
) -> None:
    """At strength zero every weight is that of the unprotected run, bit for bit.

    Args:
        name: protection.
        base: tiny model.
        folder: scratch.
        materials: what the protection is made from.
        plain: weights of the unprotected run, where they are known already.
        where: method, tuner and settings of the arm.
    """
    if plain is None:
        plain = _weights(base, folder / "plain", None, where)
    off = _weights(base, folder / "off", made(name, materials, off=True), where)
    assert _same(plain, off), f"{name} changes the run at strength zero"


def check_resume(name: str, base: Path, folder: Path, materials: Materials, **where: Any) -> None:
    """A run killed after its first checkpoint ends with the weights of one that was not.

    The run that was not killed passes `check_touches_only_what_is_trained`.
    """
    record, whole = check_touches_only_what_is_trained(
        name, base, folder / "whole", materials, **where
    )

    def crash(step: int, epoch: float, model: LoadedModel) -> None:
        raise _Crash

    broken = arms.arm(base, folder / "broken", made(name, materials), **where)
    try:
        arms.run(broken, on_epoch=crash)
    except _Crash:
        pass
    else:
        raise AssertionError("the run did not reach its first checkpoint")
    again = arms.arm(base, folder / "broken", made(name, materials), **where)
    resumed = arms.run(again)
    assert _same(whole, arms.weights(again, resumed)), (
        f"{name} takes another trajectory after a resumption"
    )
    for before, after in zip(record.protections, resumed.protections, strict=True):
        assert before.guarded == after.guarded == before.due > 0, f"{name} lost count of its steps"
        assert before.path == after.path, f"{name} lost the path of its multiplier"


def check_touches_only_what_is_trained(
    name: str, base: Path, folder: Path, materials: Materials, **where: Any
) -> tuple[TrainingRecord, dict[str, Tensor]]:
    """Under an adapter no weight of the base moves; in full training tied weights stay tied.

    Returns the record and the weights of the run.
    """
    before = arms.parameters(load(base))
    seen: list[str] = []

    def compare(step: int, epoch: float, model: LoadedModel) -> None:
        bare = model.model
        if hasattr(bare, "peft_config"):
            after = arms.parameters(model)
            seen.extend(n for n, p in before.items() if not torch.equal(p, after[n]))
        assert _shared(bare) >= tied, f"{name} parted weights that modules share"

    tied = _shared(load(base).model)
    spec = arms.arm(base, folder, made(name, materials), **where)
    record = arms.run(spec, on_epoch=compare if where.get("tuner") != "qlora" else None)
    assert not seen, f"{name} moved frozen weights: {sorted(set(seen))[:3]}"
    assert all(r.guarded == r.due > 0 for r in record.protections), f"{name} guarded too few steps"
    return record, arms.weights(spec, record)


def check_projector(projector: Callable[[Tensor], Tensor], directions: Tensor) -> None:
    """P² = P, P = Pᵀ, and scaling or mixing the directions [d, n] changes nothing.

    (VVᵀ/‖V‖, seen in published code, fails all but symmetry.)
    """
    p = projector(directions).double()
    assert torch.allclose(p @ p, p, atol=1e-9), "P² is not P"
    assert torch.allclose(p, p.mT, atol=1e-9), "P is not symmetric"
    for scale in (1e-3, 1e3):
        assert torch.allclose(projector(scale * directions).double(), p, atol=1e-9), (
            "P changes with the scale of its input"
        )


def check_safegrad(
    before_step: Callable[[list[Tensor], list[Tensor]], list[Tensor]],
    task: list[Tensor],
    alignment: list[Tensor],
    *,
    epsilon: float = 1e-6,
) -> None:
    """After the removal the whole gradient does not work against the alignment gradient.

    Args:
        before_step: called with both gradients, tensor by tensor; returns the task's new one, with
            no multiple of the alignment gradient added.
        task: gradient of the task.
        alignment: gradient of the alignment loss.
        epsilon: tolerance, relative to the product of the norms.
    """
    new = before_step(task, alignment)
    size = _norm(task) * _norm(alignment)
    assert _dot(new, alignment) >= -epsilon * size, "the projected gradient still conflicts"
    if _dot(task, alignment) >= 0:
        assert all(torch.equal(a, b) for a, b in zip(new, task, strict=True)), (
            "a gradient without conflict was changed"
        )


def check_constrained_weights(
    weights: Callable[[Tensor, Tensor, Tensor], Tensor], now: Tensor, base: Tensor, beta: Tensor
) -> None:
    """The weights of tokens equal the derivative of the published loss, in float64.

    d/dx of -(2/β) log σ(β (x - x₀)) is -2 (1 - σ(β (x - x₀))), arXiv 2406.05946.
    """
    x = now.double().clone().requires_grad_()
    rate = beta.double()
    loss = -(2 / rate * torch.nn.functional.logsigmoid(rate * (x - base.double()))).sum()
    (gradient,) = torch.autograd.grad(loss, x)
    found = weights(now.double(), base.double(), rate)
    assert torch.allclose(found, -gradient, atol=1e-9), "the weights are not the closed form"


def _weights(
    base: Path, folder: Path, protection: Protection | None, where: Where
) -> dict[str, Tensor]:
    spec = arms.arm(base, folder, protection, **where)
    return arms.weights(spec, arms.run(spec))


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _shared(model: nn.Module) -> int:
    """How many names of parameters lead to one that another name leads to as well."""
    named = dict(model.named_parameters(remove_duplicate=False))
    return len(named) - len({id(parameter) for parameter in named.values()})


def _dot(a: list[Tensor], b: list[Tensor]) -> float:
    return float(sum(float((x.double() * y.double()).sum()) for x, y in zip(a, b, strict=True)))


def _norm(a: list[Tensor]) -> float:
    return float(_dot(a, a) ** 0.5)
