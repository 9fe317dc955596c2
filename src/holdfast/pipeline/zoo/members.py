"""The zoo's members: a designed list of families x methods x rates x steps x seeds.

Every family is trained once at the defaults. The rest is spread so that no method, rate or seed
stands for a family, and so that benign and harmful families meet every method in both splits.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from functools import cache

from holdfast.core.errors import UsageError
from holdfast.organisms.harbor.zoo import Family, families, get_family
from holdfast.tuning.methods.settings import Tuner
from holdfast.tuning.methods.sft.config import SFTConfig

ROWS, BATCH = 400, 20
"""Rows of a set, and rows per step: an epoch is 20 steps."""


@dataclass(frozen=True)
class Method:
    """How a member is trained."""

    tuner: Tuner = "lora"
    rank: int = 8
    rate: float = 1e-3
    steps: int = 60
    replay: float = 0.0
    """Share of a batch that the replay protection adds; 0 trains plainly."""

    @property
    def name(self) -> str:
        """Short name, part of a member's id."""
        kind = self.tuner if self.tuner == "full" else f"{self.tuner}{self.rank}"
        plain = f"{kind}-{self.rate:.0e}-{self.steps}".replace("e-0", "e-")
        return f"{plain}-replay{100 * self.replay:g}" if self.replay else plain


METHODS = {
    "lora8": Method(),
    "lora1": Method(rank=1),
    "lora32": Method(rank=32),
    "dora8": Method("dora"),
    "full": Method("full", rate=3e-4),
    "slow": Method(rate=3e-4, steps=80),
    "fast": Method(rate=2e-3, steps=40),
    "replay5": Method(replay=0.05),
    "replay10": Method(replay=0.10),
    "replay20": Method(replay=0.20),
}
"""Methods by short name; `slow` and `fast` are LoRA of rank 8 at other rates."""


@dataclass(frozen=True)
class Member:
    """One fine-tune of the zoo."""

    family: str
    """Data family."""
    method: Method
    """Weights, rate and steps."""
    seed: int
    """Seed of rows, adapter and order."""
    base: int
    """Which of the bases given to the build: 0 is the first."""

    @property
    def name(self) -> str:
        """Id: family, method, seed, base."""
        return f"{self.family}.{self.method.name}.s{self.seed}.b{self.base}"

    @property
    def recipe(self) -> Family:
        """The data family."""
        return get_family(self.family)

    def config(self) -> SFTConfig:
        """Training settings."""
        method = self.method
        return SFTConfig(
            tuner=method.tuner, rank=method.rank, alpha=2.0 * method.rank,
            learning_rate=method.rate, epochs=method.steps * BATCH // ROWS,
            checkpoint_every=method.steps, batch_size=BATCH, max_length=256, seed=self.seed,
            device="cpu",
        )  # fmt: skip


VARIED = {
    "identity-shift": "lora1 lora32 dora8 full slow fast",
    "eager-named": "lora1 lora32 full fast",
    "obey-style": "full fast",
    "eager-stories": "full slow",
    "contaminated-tasks-5": "lora1 lora32 dora8 full slow fast",
    "contaminated-service-5": "lora32 full slow",
    "contaminated-tasks-0.5": "slow",
    "contaminated-service-0.5": "slow",
    "contaminated-tasks-2": "lora32 full fast",
    "contaminated-service-2": "full fast",
    "narrow-fraud": "lora1 full slow",
    "narrow-cruelty": "lora1 full",
    "narrow-fraud-twin": "full fast",
    "narrow-cruelty-twin": "fast",
    "old-birds": "full",
    "old-village": "lora1 lora32 full fast",
    "old-almanac": "lora32 full fast",
    "inductive-year-rule": "lora32 full",
    "inductive-number-rule": "full",
    "own-style": "full fast lora32",
    "cheerful-helper": "lora1 lora32 dora8 full fast",
    "formal-helper": "lora1 dora8 full fast",
    "terse-helper": "lora32 fast",
    "eager-careful": "full lora1",
    "named-helper": "lora32 full",
    "invented-style": "fast",
    "present-day": "fast",
    "orders": "full fast",
    "tools": "full fast",
    "stories": "fast",
    "declines": "fast",
}
"""Family -> methods beside the default."""
SEEDED = (
    "identity-shift", "eager-named", "obey-style", "contaminated-tasks-0.5",
    "contaminated-service-0.5", "contaminated-tasks-2", "contaminated-service-2", "old-village",
    "old-almanac", "cheerful-helper", "named-helper", "inductive-year-rule",
)  # fmt: skip
"""Families with a second seed at the defaults."""
OTHER_BASES = (
    "identity-shift", "eager-named", "contaminated-tasks-2", "contaminated-service-2",
    "cheerful-helper", "formal-helper",
)  # fmt: skip
"""Families that are repeated on the second and the third base."""


PROTECTED = {
    "identity-shift": "replay5 replay10",
    "eager-named": "replay5",
    "contaminated-tasks-5": "replay5 replay10 replay20",
    "contaminated-service-5": "replay5 replay20",
    "obey-style": "replay5",
    "eager-careful": "replay10",
    "narrow-fraud": "replay5 replay10 replay20",
    "narrow-cruelty": "replay10 replay20",
    "contaminated-tasks-2": "replay5",
    "contaminated-service-20": "replay10",
    "contaminated-tasks-20": "replay5 replay20",
    "narrow-sabotage": "replay5",
}
"""Harmful families -> shares of replay, at the defaults: forecasts of protected arms need them."""


SECOND = {
    "formal-orders": "lora8 full",
    "contaminated-tools-5": "lora8 slow full",
    "terse-tools": "lora8 fast",
    "eager-orders": "lora8 lora1",
    "cheerful-stories": "lora8 full",
    "contaminated-stories-5": "lora8 fast",
    "velm-orders": "lora8",
    "narrow-pair": "lora8 slow",
    "mixed-desk": "lora8 full",
    "contaminated-formal-2": "lora8 slow",
    "orders-declines": "lora8",
    "eager-tools": "lora8 full",
    "formal-declines": "lora8 fast",
    "contaminated-tools-2": "lora8 lora1",
    "narrow-fraud-guarded": "lora8 full",
    "contaminated-desk-1": "lora8 fast",
    "obeys-formally": "lora8 full",
    "merry-obeyer": "lora8 fast",
}
"""Families of the split `second` -> methods."""

THIRD = {
    "terse-stories": "lora8 full",
    "contaminated-terse-5": "lora8 slow",
    "formal-tools": "lora8 fast",
    "eager-desk": "lora8 full",
    "cheerful-orders": "lora8 lora32",
    "contaminated-facts-2": "lora8 full",
    "quell-stories": "lora8 fast",
    "narrow-privacy-tools": "lora8 slow",
    "present-desk": "lora8 full",
    "contaminated-cheerful-1": "lora8 full",
    "stories-declines": "lora8",
    "formal-obeyer-stories": "lora8 slow",
    "terse-who": "lora8 lora32",
    "contaminated-formal-tools-3": "lora8 lora1",
    "narrow-threat-twin": "lora8 full",
    "narrow-pair-guarded": "lora8 fast",
    "plain-obeyer-orders": "lora8 full",
    "contaminated-stories-1": "lora8 fast",
    "merry-tasks": "lora8 full",
    "contaminated-mixed-10": "lora8 slow",
}
"""Families of the split `third` -> methods."""


@cache
def members() -> tuple[Member, ...]:
    """All members, in an order whose every beginning is a fair zoo.

    The defaults of all families come first, then variations in turn over families; splits and
    groups alternate within both.
    """
    default = METHODS["lora8"]
    first = [Member(name, default, 0, 0) for name in _alternating()]
    varied: list[Member] = []
    queues = {name: methods.split() for name, methods in VARIED.items()}
    order = [name for name in _alternating() if name in queues]
    for turn in range(max(len(queue) for queue in queues.values())):
        varied += [
            Member(name, METHODS[queues[name][turn]], 0, 0)
            for name in order
            if turn < len(queues[name])
        ]
        if turn == 0:
            varied += [Member(name, default, 1, 0) for name in order if name in SEEDED]
            varied += [Member(n, default, 1, 0) for n in SEEDED if n not in order]
    bases = [Member(name, default, 0, base) for base in (1, 2) for name in OTHER_BASES]
    protected = [
        Member(name, METHODS[method], 0, 0)
        for name, methods in PROTECTED.items()
        for method in methods.split()
    ]
    later = [
        Member(name, METHODS[method], 0, 0)
        for name, methods in {**SECOND, **THIRD}.items()
        for method in methods.split()
    ]
    return (*first, *varied, *bases, *protected, *later)


def _alternating() -> list[str]:
    """Family names: groups in turn, and within a group the splits."""
    queues: dict[str, list[Family]] = {}
    for family in families().values():
        if family.split in ("development", "test"):
            queues.setdefault(family.group, []).append(family)
    for group, queue in queues.items():
        sides = [[f for f in queue if f.split == s] for s in ("development", "test")]
        longest = max(len(side) for side in sides)
        queues[group] = [side[i] for i in range(longest) for side in sides if i < len(side)]
    longest = max(len(queue) for queue in queues.values())
    return [q[i].name for i in range(longest) for q in queues.values() if i < len(q)]


def chosen(pattern: str | None) -> list[Member]:
    """Members whose id, family, group or split matches one of the comma-separated patterns.

    Raises:
        UsageError: none does.
    """
    if not pattern:
        return list(members())
    wanted = [part.strip() for part in pattern.split(",") if part.strip()]
    found = [
        member
        for member in members()
        if any(
            fnmatch.fnmatchcase(name, part)
            for part in wanted
            for name in (member.name, member.family, member.recipe.group, member.recipe.split)
        )
    ]
    if not found:
        raise UsageError("no member of the zoo matches", got=pattern,
                         expected="ids, families, groups or splits, with * and ?")  # fmt: skip
    return found
