"""Protections by name; plug-ins join through the entry-point group `holdfast.protections`."""

from __future__ import annotations

from holdfast.core.registry import Registry

PROTECTIONS = Registry(
    "protection", {"replay_kl": "holdfast.tuning.protections.replay_kl.protection:ReplayKL"}
)
"""Classes called as cls(cls.Config(...), prompts), see `protections.base.Protection`."""
