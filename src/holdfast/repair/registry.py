"""Repair methods by name; plug-ins join through the entry-point group `holdfast.repairs`."""

from __future__ import annotations

from holdfast.core.registry import Registry

METHODS = Registry(
    "repair",
    {
        name: f"holdfast.repair.methods.{name}.method:{target}"
        for name, target in {
            "scaling": "Scaling",
            "safe_lora": "SafeLoRA",
            "revert": "Revert",
            "resta": "Resta",
            "realign_sft": "RealignSFT",
            "realign_dpo": "RealignDPO",
        }.items()
    },
)
"""Classes called without arguments, see `repair.base.Method`."""
