"""The level of a ladder, shared among the gates that it asks.

A ladder stops at the first pass, so every ask is a chance to pass by luck. The j-th gate that is
asked gets alpha/2^j. The sum over any number of asks is at most alpha, so by the union bound the
chance that *any* candidate that is worse by a margin passes stays at most alpha, whatever the
dependence between asks on the same prompts (alpha spending; Wiens 2003, fixed-sequence fallback
procedure, without carrying over, because the ladder ends at the first pass). Steps that validation
rules out ask nothing and spend nothing.
"""

from __future__ import annotations


def level(alpha: float, ask: int) -> float:
    """Level of ask number `ask` (from 1) of a ladder at `alpha`."""
    return float(alpha / 2.0**ask)


def sentence(alpha: float, asked: int) -> str:
    """What the report says about it."""
    if not asked:
        return f"No gate was asked; nothing of the level {alpha:g} was spent."
    spent = sum(level(alpha, ask) for ask in range(1, asked + 1))
    levels = ", ".join(f"{level(alpha, ask):g}" for ask in range(1, asked + 1))
    noun = "gate was" if asked == 1 else "gates were"
    return (
        f"{asked} {noun} asked, at level {levels}: {spent:g} of {alpha:g} in all, so the chance "
        f"that any repair of this ladder passes wrongly is at most {alpha:g}."
    )
