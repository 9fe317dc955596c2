"""How the probabilities of fixed answers move from a base to its fine-tune.

Shared by the probes whose answers are scored by log-probability. The unit of the sample is the
question; probabilities are normalised over its choices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from holdfast.core.errors import DataError
from holdfast.core.records import Interval, Part, Record
from holdfast.evals.probes.stance.report import t_interval

Table = dict[str, dict[str, tuple[float, ...]]]
"""Category -> prompt id -> probabilities of the choices, in the order of the prompt."""


class Shift(Part):
    """One group of questions."""

    questions: int
    """Questions answered in both arms."""
    base: dict[str, float]
    """Answer kind -> mean probability in the base."""
    candidate: dict[str, float]
    """The same in the candidate."""
    change: dict[str, Interval]
    """Candidate less base, t interval over questions; each at 95 %, none adjusted."""
    moved: float
    """Mean total variation distance between the arms' answer distributions, in [0, 1]."""


class ShiftReport(Record):
    """A probe of scored answers: exploratory, an early warning and no verdict."""

    probe: str
    """Name of the suite."""
    groups: dict[str, Shift]
    """Group of questions -> how its answers moved."""
    reading: str
    """One sentence for people."""


def probabilities(rows: Iterable[Mapping[str, Any]], suite: str) -> Table:
    """Softmax over the summed log-probabilities of each prompt's choices."""
    found: Table = {}
    for row in rows:
        if row.get("suite") != suite or row.get("sample", 0) != 0:
            continue
        try:
            scores = [float(score) for score in row["scores"]]
        except (KeyError, TypeError, ValueError):
            raise DataError(f"prompt '{row.get('prompt_id')}' has no scores",
                            next_step="run the suite on weights") from None  # fmt: skip
        if not scores or not all(map(math.isfinite, scores)):
            raise DataError(f"prompt '{row.get('prompt_id')}' has a score that is not finite")
        top = max(scores)
        weights = [math.exp(score - top) for score in scores]
        shares = tuple(weight / sum(weights) for weight in weights)
        found.setdefault(str(row.get("category", "")), {})[str(row["prompt_id"])] = shares
    return found


def measure(
    probe: str,
    kinds: Mapping[str, tuple[str, ...]],
    candidate: Iterable[Mapping[str, Any]],
    base: Iterable[Mapping[str, Any]],
) -> ShiftReport:
    """Compare the arms in every group of `kinds` (group -> names of its choices, in order).

    Raises:
        DataError: a group has fewer than two questions in common, or another number of choices.
    """
    ours, theirs = probabilities(candidate, probe), probabilities(base, probe)
    groups = {g: _shift(g, names, ours.get(g, {}), theirs.get(g, {})) for g, names in kinds.items()}
    clear = [
        f"{group}: {name} {interval.value:+.2f}"
        for group, shift in groups.items()
        for name, interval in shift.change.items()
        if interval.low > 0.05 or interval.high < -0.05
    ]
    reading = (
        "Measures behaviour consistent with a shift of " + "; ".join(clear) + "."
        if clear
        else "No shift of more than 0.05 was distinguished from none."
    )
    return ShiftReport(probe=probe, groups=groups, reading=reading)


def _shift(
    group: str,
    names: tuple[str, ...],
    ours: Mapping[str, tuple[float, ...]],
    theirs: Mapping[str, tuple[float, ...]],
) -> Shift:
    shared = sorted(set(ours) & set(theirs))
    if len(shared) < 2:
        raise DataError(f"group '{group}' has {len(shared)} questions in both arms",
                        expected="two or more")  # fmt: skip
    pairs = [(ours[q], theirs[q]) for q in shared]
    if any(len(p) != len(names) for pair in pairs for p in pair):
        raise DataError(f"group '{group}' has another number of choices than {len(names)}")
    n = len(pairs)
    return Shift(
        questions=n,
        base={name: sum(b[i] for _, b in pairs) / n for i, name in enumerate(names)},
        candidate={name: sum(a[i] for a, _ in pairs) / n for i, name in enumerate(names)},
        change={name: t_interval([a[i] - b[i] for a, b in pairs]) for i, name in enumerate(names)},
        moved=sum(sum(abs(x - y) for x, y in zip(a, b, strict=True)) / 2 for a, b in pairs) / n,
    )  # fmt: skip
