"""Methods by name; plug-ins join through the entry-point group `holdfast.methods`."""

from __future__ import annotations

from holdfast.core.registry import Registry

_HERE = "holdfast.tuning.methods"
METHODS = Registry(
    "method",
    {
        "sft": f"{_HERE}.sft.method:SFT",
        "dpo": f"{_HERE}.dpo.method:DPO",
        "reward": f"{_HERE}.reward.method:Reward",
        "rlhf": f"{_HERE}.rlhf.method:RLHF",
    },
)
"""Classes called as cls(arm, start), see `methods.spec.Method`. Which weights are trained is not a
method: `tuner` is a setting of all of them."""
