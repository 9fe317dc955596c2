"""Protections by name; plug-ins join through the entry-point group `holdfast.protections`."""

from __future__ import annotations

import importlib

from holdfast.core.config import Config
from holdfast.core.registry import Registry

_HERE = "holdfast.tuning.protections"
_BUILT_IN = {
    "auto": ("controller", "Controller"),
    "caft": ("caft", "CAFT"),
    "constrained": ("constrained", "Constrained"),
    "frozen_layers": ("frozen_layers", "FrozenLayers"),
    "replay_kl": ("replay_kl", "ReplayKL"),
    "safegrad": ("safegrad", "SafeGrad"),
    "steering": ("steering", "Steering"),
    "subspace_guard": ("subspace_guard", "SubspaceGuard"),
    "weight_ema": ("weight_ema", "WeightEMA"),
}
PROTECTIONS = Registry(
    "protection",
    {name: f"{_HERE}.{folder}.protection:{made}" for name, (folder, made) in _BUILT_IN.items()},
)
"""Subclasses of `protections.base.Protection`, made by their `build(config, materials)`."""


def config_of(name: str) -> type[Config]:
    """The settings class of a protection; of a built-in one without importing torch.

    Raises:
        UsageError: no protection has this name.
    """
    if name in _BUILT_IN:
        folder, made = _BUILT_IN[name]
        found: type[Config] = getattr(
            importlib.import_module(f"{_HERE}.{folder}.config"), f"{made}Config"
        )
        return found
    return PROTECTIONS.load(name).Config  # type: ignore[no-any-return]  # a registry entry is Any
