"""The arms of the defence bench: what each is, its two configurations, and what its twin copies.

Every arm that competes has exactly `BUDGET` configurations, tried on validation prompts and then
fixed. What has no knob of its own spends them on the checkpoint that it delivers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast.core.errors import UsageError
from holdfast.core.registry import nearest

BUDGET = 2
"""Configurations of every arm that competes."""
Maker = Literal[
    "none", "trained", "scaled", "random revert", "revert", "safe_lora", "resta", "realign",
    "random twin", "shrunk twin",
]  # fmt: skip
Tuned = Literal["all-linear", "writers"]
"""What LoRA is put on: every linear layer, or only what writes to the residual stream."""
WRITERS = ("o_proj", "down_proj")
THIRD = 1e-3 / 3
Options = Mapping[str, Any]
_END: Options = {"at": 1.0}
_LATE: tuple[Options, ...] = (_END, {"at": 2 / 3})
"""Two checkpoints: the end, and two thirds of the way."""


@dataclass(frozen=True)
class Arm:
    """One arm of the bench."""

    name: str
    """Name in rows and tables."""
    maker: Maker
    """How it is made."""
    options: tuple[Options, ...] = (_END,)
    """Its configurations, the default first; a twin takes those of the arm that it copies."""
    tuned: Tuned = "all-linear"
    """What LoRA is put on."""
    protect: Mapping[str, Options] = field(default_factory=dict)
    """Protections by name, with settings that are not tuned."""
    train: Options = field(default_factory=dict)
    """Training settings other than the recipe's."""
    twin_of: str = ""
    """The subspace method that this arm controls for."""
    reference: bool = False
    """Whether it has nothing to choose: the others are measured against it."""

    @property
    def plain(self) -> str:
        """The unprotected run that this arm edits or is compared with."""
        return "plain" if self.tuned == "all-linear" else "plain, writers"


def _twins(name: str, tuned: Tuned = "all-linear") -> tuple[Arm, Arm]:
    return (
        Arm(f"{name}, random twin", "random twin", tuned=tuned, twin_of=name),
        Arm(f"{name}, shrunk twin", "shrunk twin", tuned=tuned, twin_of=name),
    )


def _with(name: str, *settings: Options) -> tuple[Options, ...]:
    """Configurations that differ in the settings of one protection."""
    return tuple({"at": 1.0, "protect": {name: dict(found)}} for found in settings)


_SIDES: tuple[Options, ...] = ({"at": 1.0, "side": "off"}, {"at": 1.0, "side": "on"})
_SIZES: tuple[Options, ...] = ({"at": 1.0, "blocks": 1}, {"at": 1.0, "blocks": 2})
_EPOCHS: tuple[Options, ...] = ({"at": 1.0, "epoch": 3}, {"at": 1.0, "epoch": 1})
_STRONGER = {"first": 2.0, "early": 8.0}
_LISTED = (
    Arm("none", "none", reference=True),
    Arm("plain", "trained", reference=True),
    Arm("plain lr/3", "trained", _LATE, train={"learning_rate": THIRD}),
    Arm("early stop", "scaled", ({"at": 0.2, "scale": 1.0}, {"at": 4 / 15, "scale": 1.0})),
    *(
        Arm(f"scale {scale:g}", "scaled", tuple({**at, "scale": scale} for at in _LATE))
        for scale in (0.25, 0.375, 0.5, 0.75)
    ),
    Arm("random revert", "random revert", _SIZES),
    Arm("revert", "revert", _SIZES),
    *_twins("revert"),
    Arm("safe_lora", "safe_lora", _SIDES),
    *_twins("safe_lora"),
    Arm("resta", "resta", ({"at": 1.0, "gamma": 0.5}, {"at": 1.0, "gamma": 1.0})),
    Arm("realign_sft", "realign", _EPOCHS),
    Arm("realign_dpo", "realign", _EPOCHS),
    Arm("replay_kl", "trained", _with("replay_kl", {}, {"weight": 4.0})),
    Arm("safegrad", "trained", _with("safegrad", {}, {"weight": 0.5})),
    Arm("constrained", "trained", _with("constrained", {}, _STRONGER)),
    Arm("subspace_guard", "trained", _LATE, protect={"subspace_guard": {}}),
    *_twins("subspace_guard"),
    Arm("steering", "trained", _with("steering", {}, {"strength": 0.5})),
    *_twins("steering"),
    Arm("caft", "trained", _LATE, protect={"caft": {}}),
    *_twins("caft"),
    Arm("weight_ema", "trained", _with("weight_ema", {}, {"decay": 0.97})),
    Arm("frozen_layers", "trained", _with("frozen_layers", {}, {"layers": (2, 3)})),
    Arm("default stack", "trained", ({"at": 1.0, "scale": 1.0}, {"at": 1.0, "scale": 0.75}),
        protect={"replay_kl": {}, "weight_ema": {}}),
    Arm("auto", "trained", _with("auto", {}, {"budget": {"margin": 0.5}})),
    Arm("plain, writers", "trained", tuned="writers", reference=True),
    Arm("subspace_guard, writers", "trained", _LATE, "writers", {"subspace_guard": {}}),
    *_twins("subspace_guard, writers", "writers"),
    Arm("safe_lora, writers", "safe_lora", _SIDES, "writers"),
    *_twins("safe_lora, writers", "writers"),
)  # fmt: skip
ARMS: dict[str, Arm] = {arm.name: arm for arm in _LISTED}
"""All arms, a twin right after what it copies, references before what they are compared with."""
STREAM = ("steering", "caft")
"""Methods that change activations in training: nothing is removed from the weights."""


def chosen_arms(names: tuple[str, ...]) -> list[Arm]:
    """The arms asked for with the references and parents that they need, in the bench's order.

    Raises:
        UsageError: no such arm; the message names the nearest.
    """
    for name in names:
        if name not in ARMS:
            raise UsageError(f"unknown arm '{name}'", next_step=nearest(name, list(ARMS)))
    wanted = set(names or ARMS) | {"none", "plain"}
    wanted |= {ARMS[name].twin_of for name in wanted if ARMS[name].twin_of}
    wanted |= {ARMS[name].plain for name in wanted}
    return [arm for arm in ARMS.values() if arm.name in wanted]
