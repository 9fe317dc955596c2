"""The change that a fine-tune made, and how to write an edited one.

Every repair on weights is the same sum, for each tensor with its own factor L:

    θ' = θ_base + L · (θ_run − θ_base)

with L a number (scaling, revert) or a matrix on the output side (projection). A LoRA run is edited
on its factor B alone (L·B·A), so that the result is still an adapter on the sealed base; other runs
are edited on their full weights, one file of tensors at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from holdfast.core.errors import IntegrityError, UsageError
from holdfast.repair.weights import (
    ADAPTER,
    Factor,
    Tensors,
    edited,
    layer_of,
    times,
    write_adapter,
    write_full,
)

Left = Callable[[str], Factor]
"""The factor L of a tensor, by its name in the base: `model.layers.0.mlp.up_proj.weight` …"""
_LORA = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight")


class Update(Protocol):
    """The change of one run against its base."""

    def matrices(self) -> list[str]:
        """Names of the changed 2-D weights, as in the base, sorted."""
        ...

    def delta(self, name: str) -> Tensor:
        """The change of one matrix, float32, as stored in the base."""
        ...

    def output_first(self, name: str) -> bool:
        """Whether a weight is stored as [out, in] (GPT-2's Conv1D is stored the other way)."""
        ...

    def write(self, to: Path, left: Left) -> Path:
        """Write the edited model to the new folder `to` and return it."""
        ...


def open_update(base: Path, result: Path) -> Update:
    """The update of a run's result: an adapter folder, or full weights.

    Raises:
        UsageError: an adapter whose change is not B·A alone; merge it first.
        IntegrityError: a file that cannot be read, or that does not fit its base.
    """
    if (result / ADAPTER[0]).is_file():
        return AdapterUpdate.open(result)
    return FullUpdate(Tensors.open(base), Tensors.open(result), base, result)


@dataclass(frozen=True)
class FullUpdate:
    """Full weights against the base's."""

    base: Tensors
    run: Tensors
    base_folder: Path
    run_folder: Path

    def __post_init__(self) -> None:
        """Both models must have the same tensors."""
        base, run = dict(self.base.shapes()), dict(self.run.shapes())
        different = sorted(name for name in set(base) | set(run) if base.get(name) != run.get(name))
        if different:
            raise UsageError(
                f"{self.run_folder} and its base differ in {len(different)} tensors, first "
                f"'{different[0]}'",
                expected="the same names and shapes",
            )

    def matrices(self) -> list[str]:
        """Changed 2-D weights inside the decoder blocks."""
        return [
            name
            for name, shape in self.base.shapes()
            if len(shape) == 2 and layer_of(name) is not None and self._changed(name)
        ]

    def delta(self, name: str) -> Tensor:
        """θ_run − θ_base of one matrix."""
        return self.run.get(name).float() - self.base.get(name).float()

    def output_first(self, name: str) -> bool:
        """Linear layers store [out, in]; GPT-2's c_attn, c_proj and c_fc store [in, out]."""
        return not re.search(r"\.c_(attn|proj|fc)\.weight$", name)

    def write(self, to: Path, left: Left) -> Path:
        """θ_base + L·(θ_run − θ_base) in the files and precision of the run."""

        def value(name: str) -> Tensor:
            base, run = self.base.get(name), self.run.get(name)
            if self.output_first(name):
                return edited(base, run, left(name))
            return edited(base.T, run.T, left(name)).T

        return write_full(self.run, self.run_folder, to, value)

    def _changed(self, name: str) -> bool:
        return not torch.equal(self.base.get(name), self.run.get(name))


@dataclass(frozen=True)
class AdapterUpdate:
    """A LoRA adapter: ΔW = scaling · B·A per module."""

    folder: Path
    config: dict[str, Any]
    tensors: Tensors
    modules: dict[str, dict[str, str]]
    """Tensor name of each factor (`A`, `B`), by weight name in the base."""

    @classmethod
    def open(cls, folder: Path) -> AdapterUpdate:
        """Read the adapter's configuration and index its factors."""
        try:
            config = json.loads((folder / ADAPTER[0]).read_text("utf-8"))
        except ValueError as error:
            raise IntegrityError(f"{folder / ADAPTER[0]} is not JSON") from error
        if not additive(config):
            raise UsageError(
                f"the adapter in {folder} is more than B·A (DoRA, a rewritten base or whole "
                "modules)",
                next_step="merge it into its base and repair the merged model",
            )
        tensors = Tensors.open(folder)
        modules: dict[str, dict[str, str]] = {}
        for name in tensors.files:
            found = _LORA.fullmatch(name)
            if found is None:
                raise UsageError(f"{folder} holds '{name}', which is no LoRA factor")
            modules.setdefault(f"{found['module']}.weight", {})[found["factor"]] = name
        return cls(folder, config, tensors, modules)

    def matrices(self) -> list[str]:
        """Weights that the adapter acts on."""
        return sorted(self.modules)

    def delta(self, name: str) -> Tensor:
        """The change scaling · B·A, as stored in the base."""
        names = self.modules[name]
        b, a = self.tensors.get(names["B"]).float(), self.tensors.get(names["A"]).float()
        change = self._scaling(name, a.shape[0]) * (b @ a)
        return change if self.output_first(name) else change.T

    def output_first(self, name: str) -> bool:
        """PEFT notes GPT-2's transposed storage in the configuration."""
        return not self.config.get("fan_in_fan_out")

    def write(self, to: Path, left: Left) -> Path:
        """The adapter with L·B in place of B; a factor on a tensor without adapter has no effect.

        B always has the output first, so L acts on it from the left, however the base is stored.
        """
        out = {name: self.tensors.get(name) for name in self.tensors.files}
        for weight, names in self.modules.items():
            out[names["B"]] = times(left(weight), out[names["B"]])
        return write_adapter(to, self.config, out)

    def _scaling(self, weight: str, rank: int) -> float:
        alpha = _by_pattern(self.config.get("alpha_pattern"), weight, self.config["lora_alpha"])
        return float(alpha) / (rank**0.5 if self.config.get("use_rslora") else rank)


def is_additive(result: Path) -> bool:
    """Whether a result is an adapter whose whole effect is scaling · B·A, or full weights."""
    path = result / ADAPTER[0]
    return not path.is_file() or additive(json.loads(path.read_text("utf-8")))


def additive(config: dict[str, Any]) -> bool:
    """Whether an adapter's whole effect on its base is scaling · B·A."""
    start = config.get("init_lora_weights", True)
    return bool(
        config.get("peft_type") == "LORA"
        and not config.get("use_dora")
        and not config.get("modules_to_save")
        and not config.get("trainable_token_indices")
        and not config.get("lora_bias")
        and config.get("bias", "none") == "none"
        and (start is True or start in ("gaussian", "eva"))
    )


def stacked(first: AdapterUpdate, second: AdapterUpdate, factor: float, to: Path) -> Path:
    """One adapter that does what `first` does plus `factor` times what `second` does, exactly.

    [s₁B₁, factor·s₂B₂]·[A₁; A₂], padded with zeros to one rank for every module. The two must act
    on the same modules; `second` may have been trained on the base with `first` merged into it.
    """
    if first.modules.keys() != second.modules.keys():
        odd = sorted(first.modules.keys() ^ second.modules.keys())
        raise UsageError(f"the adapters act on different modules, first '{odd[0]}'")
    pairs = {name: [_factors(first, name, 1.0), _factors(second, name, factor)]
             for name in first.modules}  # fmt: skip
    rank = max(sum(a.shape[0] for _, a in both) for both in pairs.values())
    out: dict[str, Tensor] = {}
    for name, both in pairs.items():
        b = torch.cat([b for b, _ in both], dim=1)
        a = torch.cat([a for _, a in both], dim=0)
        spare = rank - a.shape[0]
        out[first.modules[name]["B"]] = torch.nn.functional.pad(b, (0, spare))
        out[first.modules[name]["A"]] = torch.nn.functional.pad(a, (0, 0, 0, spare))
    config = {
        **first.config, "r": rank, "lora_alpha": float(rank), "use_rslora": False,
        "rank_pattern": {}, "alpha_pattern": {},
    }  # fmt: skip
    return write_adapter(to, config, out)


def oriented(update: Update, name: str) -> Tensor:
    """The change of one matrix as [out, in], however it is stored."""
    change = update.delta(name)
    return change if update.output_first(name) else change.T


def added(folder: Path, update: Update, to: Path, factor: float = 1.0) -> Path:
    """Full weights of the model in `folder` plus `factor` times an update, file by file."""
    tensors, changed = Tensors.open(folder), set(update.matrices())
    if lost := changed - set(tensors.files):
        raise IntegrityError(
            f"the update names {len(lost)} weights that {folder} lacks, first '{min(lost)}'"
        )

    def value(name: str) -> Tensor:
        weight = tensors.get(name)
        if name not in changed:
            return weight
        return (weight.float() + factor * update.delta(name)).to(weight.dtype)

    return write_full(tensors, folder, to, value)


def _factors(update: AdapterUpdate, name: str, factor: float) -> tuple[Tensor, Tensor]:
    names = update.modules[name]
    a = update.tensors.get(names["A"]).float()
    b = update.tensors.get(names["B"]).float()
    return factor * update._scaling(name, a.shape[0]) * b, a


def _by_pattern(pattern: dict[str, float] | None, weight: str, default: float) -> float:
    """PEFT's rule: a key matches a module of that name, or one whose dotted name ends in it."""
    module = weight.removesuffix(".weight")
    for key, value in (pattern or {}).items():
        if re.fullmatch(rf"(.*\.)?({key})", module):
            return value
    return default
