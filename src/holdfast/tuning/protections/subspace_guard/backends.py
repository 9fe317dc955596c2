"""Reading and projecting one parameter, wherever its numbers are.

Three homes: a plain tensor (one process, DDP: every rank does the same), a DTensor (FSDP2), and
DeepSpeed's float32 master copy (ZeRO). Products are summed in float64: in float32 their rounding
alone would pass for a leak.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate

from holdfast.core.errors import InvalidRun


class Home(ABC):
    """Where a parameter lives. `basis` is U [d, k], orthonormal, float64."""

    @abstractmethod
    def whole(self, parameter: nn.Parameter) -> Tensor:
        """All its numbers, the same on every rank; not to be written to."""

    @abstractmethod
    def write(self, parameter: nn.Parameter, value: Tensor) -> None:
        """Parameter ← value, which is whole on every rank."""

    @abstractmethod
    def inside(self, parameter: nn.Parameter, basis: Tensor, *, flipped: bool) -> Tensor:
        """Uᵀ W [k, ·] in float64, the same on every rank; `flipped` where W is stored [·, d]."""

    @abstractmethod
    def subtract(
        self, parameter: nn.Parameter, basis: Tensor, part: Tensor, *, flipped: bool
    ) -> None:
        """W ← W - U part, with `part` [k, ·] in float64; rounded once."""


class Plain(Home):
    """A whole tensor on this device."""

    def whole(self, parameter: nn.Parameter) -> Tensor:
        """See `Home`."""
        return parameter.detach()

    def write(self, parameter: nn.Parameter, value: Tensor) -> None:
        """See `Home`."""
        parameter.copy_(value.view(parameter.shape).to(parameter.dtype))

    def inside(self, parameter: nn.Parameter, basis: Tensor, *, flipped: bool) -> Tensor:
        """See `Home`."""
        wide = _matrix(parameter.detach()).double()
        return basis.mT @ (wide.mT if flipped else wide)

    def subtract(
        self, parameter: nn.Parameter, basis: Tensor, part: Tensor, *, flipped: bool
    ) -> None:
        """See `Home`."""
        change = basis @ part
        wide = _matrix(parameter.detach()).double()
        self.write(parameter, wide - (change.mT if flipped else change))


class Sharded(Home):
    """A DTensor. One all-reduce of k x d_in numbers per matrix where dimension 0 is sharded."""

    def whole(self, parameter: nn.Parameter) -> Tensor:
        """See `Home`."""
        sharded: Any = parameter.detach()
        return torch.as_tensor(sharded.full_tensor())

    def write(self, parameter: nn.Parameter, value: Tensor) -> None:
        """See `Home`."""
        parameter.copy_(_spread(value, parameter.detach()).to(parameter.dtype))

    def inside(self, parameter: nn.Parameter, basis: Tensor, *, flipped: bool) -> Tensor:
        """See `Home`."""
        sharded: Any = parameter.detach()
        wide = _matrix(sharded).double()
        product = _replicated(basis, sharded).mT @ (wide.mT if flipped else wide)
        return torch.as_tensor(product.full_tensor())

    def subtract(
        self, parameter: nn.Parameter, basis: Tensor, part: Tensor, *, flipped: bool
    ) -> None:
        """See `Home`."""
        sharded = parameter.detach()
        change = basis @ part
        own = _spread(change.mT if flipped else change, sharded)
        parameter.copy_((sharded.double() - own).to(sharded.dtype))


class ZeRO(Home):
    """DeepSpeed's float32 master copy, after the engine has stepped.

    Every stage copies the master into the model's own weights only on its next step, so those are
    written too; otherwise the weights that are saved leak by what one step puts back
    (docs/results/guard.md). ZeRO-3 holds them in parts, which are gathered and spread again; a
    frozen weight has no master there and is gathered itself.
    """

    def whole(self, parameter: nn.Parameter) -> Tensor:
        """See `Home`."""
        import deepspeed

        if parameter.requires_grad:
            return _master(parameter).detach()
        with deepspeed.zero.GatheredParameters([parameter]):
            return parameter.detach().clone()

    def write(self, parameter: nn.Parameter, value: Tensor) -> None:
        """See `Home`."""
        import deepspeed
        from deepspeed.utils import safe_set_full_fp32_param

        safe_set_full_fp32_param(parameter, value)
        if not hasattr(parameter, "ds_id"):
            parameter.data.copy_(value)
            return
        with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
            parameter.data.copy_(value)

    def inside(self, parameter: nn.Parameter, basis: Tensor, *, flipped: bool) -> Tensor:
        """See `Home`."""
        return Plain().inside(_master(parameter), basis, flipped=flipped)

    def subtract(
        self, parameter: nn.Parameter, basis: Tensor, part: Tensor, *, flipped: bool
    ) -> None:
        """See `Home`."""
        master = _master(parameter)
        Plain().subtract(master, basis, part, flipped=flipped)
        self.write(parameter, master.data)


def home_of(parameter: nn.Parameter) -> Home:
    """Where this parameter lives."""
    if isinstance(parameter, DTensor):
        return Sharded()
    if hasattr(parameter, "ds_id") or hasattr(parameter, "_hp_mapping"):
        return ZeRO()
    return Plain()


def _matrix(tensor: Tensor) -> Tensor:
    """A bias [d] as one column [d, 1]."""
    return tensor[:, None] if tensor.ndim == 1 else tensor


def _replicated(tensor: Tensor, like: Any) -> Any:
    mesh = like.device_mesh
    return DTensor.from_local(tensor, mesh, [Replicate()] * mesh.ndim, run_check=False)


def _spread(tensor: Tensor, like: Any) -> Any:
    """This rank's part of a tensor that is whole on all, in the shape and places of `like`."""
    return _replicated(tensor.reshape(like.shape), like).redistribute(placements=like.placements)


def _master(parameter: nn.Parameter) -> nn.Parameter:
    from deepspeed.utils import safe_get_full_fp32_param

    found = safe_get_full_fp32_param(parameter)
    if found is None:
        raise InvalidRun(
            "DeepSpeed holds no float32 master of a guarded weight",
            expected="ZeRO-1, 2 or 3 with the optimizer's state on this machine",
        )
    return nn.Parameter(found, requires_grad=False)
