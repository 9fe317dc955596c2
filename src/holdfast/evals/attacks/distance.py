"""How far an attack set is from the fine-tuning data, so that the test is of another domain.

Cosine distance of TF-IDF vectors over words and word pairs, each goal against its nearest training
prompt. The yardstick is the training set itself: the distance of its rows to their nearest
neighbours. Words are a crude notion of domain; the number says which goals share the wording.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix

from holdfast.core.errors import DataError
from holdfast.core.records import Part
from holdfast.evals.attacks.base import goal_text
from holdfast.evals.suites.base import Suite

MAX_TEXTS = 5000
"""Training prompts read; more are thinned evenly."""


class Distance(Part):
    """Distances in [0, 1]; 1: no word in common."""

    goals: int
    """Goals measured."""
    mean: float
    """Mean over goals of the distance to the nearest training prompt."""
    lowest: float
    """That of the goal nearest to the training data."""
    within: float
    """Mean distance of a training prompt to its nearest other: the training domain's own width."""


def _terms(text: str) -> Counter[str]:
    # Numbers name things, not domains: order 105 and order 106 are the same question.
    words = re.findall(r"\w+", re.sub(r"\d+", "0", text.lower()))
    pairs = (f"{a} {b}" for a, b in zip(words, words[1:], strict=False))
    return Counter([*words, *pairs])


def _vectors(texts: Sequence[str]) -> csr_matrix:
    """TF-IDF rows of unit length; smoothed inverse document frequency ln((1+n)/(1+df)) + 1."""
    bags = [_terms(text) for text in texts]
    frequency = Counter(term for bag in bags for term in bag)
    index = {term: column for column, term in enumerate(frequency)}
    weight = {t: math.log((1 + len(bags)) / (1 + n)) + 1 for t, n in frequency.items()}
    data, columns, starts = [], [], [0]
    for bag in bags:
        values = [count * weight[term] for term, count in bag.items()]
        norm = math.sqrt(sum(v * v for v in values)) or 1.0
        data += [v / norm for v in values]
        columns += [index[term] for term in bag]
        starts.append(len(data))
    return csr_matrix((data, columns, starts), shape=(len(bags), max(len(index), 1)))


def distances(goals: Sequence[str], training: Sequence[str]) -> tuple[list[float], float]:
    """Distance of each goal to its nearest training prompt, and the width of the training set.

    Raises:
        DataError: fewer than two training prompts, or no goals.
    """
    if len(training) < 2 or not goals:
        raise DataError(
            "a distance needs goals and training prompts",
            got=f"{len(goals)} and {len(training)}",
            expected="1 and 2 or more",
        )
    step = -(-len(training) // MAX_TEXTS)
    known = list(training)[::step]
    rows = _vectors([*goals, *known])
    ours, theirs = rows[: len(goals)], rows[len(goals) :]
    nearest = np.asarray((ours @ theirs.T).max(axis=1).todense()).ravel()
    near = (theirs @ theirs.T).toarray()
    np.fill_diagonal(near, 0.0)
    found = [float(np.clip(1 - value, 0.0, 1.0)) for value in nearest]
    return found, float(np.clip(1 - near.max(axis=1), 0.0, 1.0).mean())


def away(
    suite: Suite, training: Sequence[str], *, keep: int | None = None
) -> tuple[Suite, Distance]:
    """The `keep` goals of a suite farthest from the training prompts, and their distance.

    Without `keep`, all goals at least as far from the training data as its own rows are from each
    other; if there are none, the farther half.
    """
    found, within = distances([goal_text(p) for p in suite.prompts], training)
    order = sorted(range(len(found)), key=lambda i: (-found[i], i))
    if keep is None:
        far = sum(value >= within for value in found)
        keep = far or -(-len(found) // 2)
    chosen = sorted(order[:keep])
    kept = [found[i] for i in chosen]
    report = Distance(goals=len(kept), mean=sum(kept) / len(kept), lowest=min(kept), within=within)
    return replace(suite, prompts=tuple(suite.prompts[i] for i in chosen)), report
