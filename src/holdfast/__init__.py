"""Holdfast fine-tunes language models without losing the safety that they came with, and proves it.

The public surface is lazy: importing the package loads nothing heavy, and no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_LAZY = {
    "run": "holdfast.pipeline.run",
    "compare": "holdfast.gate.compare",
    "decide": "holdfast.gate.decide",
    "SafetyMap": "holdfast.core.records",
    "HoldfastCallback": "holdfast.tuning.callback",
}
__all__ = ["HoldfastCallback", "SafetyMap", "__version__", "compare", "decide", "run"]

if TYPE_CHECKING:
    from holdfast.core.records import SafetyMap
    from holdfast.gate.compare import compare
    from holdfast.gate.decide import decide
    from holdfast.pipeline.run import run
    from holdfast.tuning.callback import HoldfastCallback


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'holdfast' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)
