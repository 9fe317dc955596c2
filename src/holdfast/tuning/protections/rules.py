"""Which protection goes with what: one table, read by plans before training and by the callback.

Nothing here needs torch, so a plan is refused before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from holdfast.core.errors import UsageError


@dataclass(frozen=True)
class Setting:
    """What the soundness of a protection depends on."""

    method: str = "sft"
    """`sft`, `dpo`, `reward` or `rlhf`."""
    tuner: str = "lora"
    """`full`, `lora`, `qlora` or `dora`."""
    init: str = "default"
    """Start of the adapter: `default`, `pissa`, `olora`, or what the trainer says."""
    deploy: str = "as-trained"
    """`as-trained`, `merged` or `nf4`."""
    on_alarm: str = "log"
    """What an alarm does: `log`, `stop` or `rollback`."""
    backend: str = "single"
    """`single`, `ddp`, `fsdp2`, `deepspeed`, or another name that nothing is known about."""
    precision: str = "float32"
    """`float32`, `bfloat16`, or `float16` with a gradient scaler."""


@dataclass(frozen=True)
class Rule:
    """One protection and values of one setting that do not go together."""

    protection: str
    """Name in the registry."""
    line: str
    """The plan's line, such as `train.init`."""
    bad: Collection[str]
    """Values that are refused."""
    why: str
    """The reason, for the person who wrote the plan."""
    inverted: bool = False
    """Whether `bad` lists the values that are fine and all others are refused."""


_NOT_SFT = ("dpo", "reward", "rlhf")
_STREAM = (
    "the reference pass, the reward pass or the rollouts go through the same modules, so they "
    "would be changed with the training pass"
)
RULES = (
    Rule(
        "constrained", "train.method", _NOT_SFT,
        "it weighs the cross-entropy of demonstrated tokens, which only SFT has",
    ),
    Rule("steering", "train.method", _NOT_SFT, _STREAM),
    Rule("caft", "train.method", _NOT_SFT, _STREAM),
    Rule(
        "subspace_guard", "train.init", ("default", "gaussian", "orthogonal", "mica"),
        "the guard needs an adapter that starts as a zero; this start moves a part of the base (or "
        "noise) into B, and projecting that would change the model itself",
        inverted=True,
    ),
    Rule(
        "subspace_guard", "train.deploy", ("nf4",),
        "rounding the merged weights to 4 bit moves them inside the subspace again",
    ),
    Rule(
        "subspace_guard", "train.method", ("reward",),
        "a reward model is read, not asked: it has no refusals to guard",
    ),
    Rule(
        "weight_ema", "monitor.on_alarm", ("rollback",),
        "after a roll back the average would still hold the steps that were undone",
    ),
    *(
        Rule(
            name, "train.method", ("reward",),
            "a reward model answers nothing, so there is no answer of the base to keep",
        )
        for name in ("replay_kl", "safegrad", "auto")
    ),
)  # fmt: skip
_LINES = {
    "train.method": "method", "train.init": "init", "train.tuner": "tuner",
    "train.deploy": "deploy", "monitor.on_alarm": "on_alarm",
}  # fmt: skip
TOGETHER = (
    ("auto", "replay_kl", "the controller turns a replay-KL of its own"),
    ("safegrad", "frozen_layers", "the alignment gradient would count weights that do not move"),
)
"""Pairs of protections that do not go together."""
BACKENDS: dict[str, frozenset[str]] = {
    "ddp": frozenset({"replay_kl", "subspace_guard"}),
    "fsdp2": frozenset({"subspace_guard"}),
    "deepspeed": frozenset({"subspace_guard"}),
}
"""Protections that are tested on each backend besides one process on one device."""


def faults(names: Sequence[str], setting: Setting, *, line: str = "protect.method") -> list[str]:
    """Every reason why these protections cannot guard this training; each names two lines."""
    found = []
    for rule in RULES:
        value = getattr(setting, _LINES[rule.line])
        if rule.protection in names and (value in rule.bad) is not rule.inverted:
            found.append(f"'{line}: {rule.protection}' and '{rule.line}: {value}' disagree: "
                         f"{rule.why}")  # fmt: skip
    for first, second, why in TOGETHER:
        if first in names and second in names:
            found.append(f"'{line}: {first}' and '{line}: {second}' disagree: {why}")
    if {"subspace_guard", "weight_ema"} <= set(names) and setting.tuner == "dora":
        found.append(
            f"'{line}: weight_ema' and 'train.tuner: dora' disagree under subspace_guard: averaged "
            "magnitudes are not those of the averaged factors, which leaks"
        )
    twice = sorted({name for name in names if list(names).count(name) > 1})
    found += [f"'{line}: {name}' stands there twice" for name in twice]
    return found


def refuse(names: Sequence[str], setting: Setting) -> None:
    """Raise before training when a protection is unsound here, or untested on this backend.

    Raises:
        UsageError: names the two settings that disagree, or the backend.
    """
    found = faults(names, setting, line="protection")
    if found:
        raise UsageError(f"this training cannot be protected so: {'; '.join(found)}")
    if setting.precision == "float16":
        raise UsageError(
            "Holdfast does not guard training with fp16 and a GradScaler",
            expected="float32 or bfloat16: the scaler would divide a gradient of ours by a scale "
            "that it never had",
        )
    if setting.backend == "single":
        return
    fit = BACKENDS.get(setting.backend)
    if fit is None:
        raise UsageError(
            f"Holdfast does not know how to guard training with {setting.backend}",
            expected="one process on one device, DDP, FSDP2, or DeepSpeed",
        )
    unfit = sorted(set(names) - fit)
    if unfit:
        raise UsageError(
            f"protection {', '.join(unfit)} is not tested under {setting.backend}",
            expected=f"one of {', '.join(sorted(fit))}, or one process on one device",
        )
