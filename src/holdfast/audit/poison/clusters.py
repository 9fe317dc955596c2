"""Clusters among the answers that disagree with the base.

RFTC (arXiv 2505.23015): find answers that a reference model would not have given, then cluster
those by TF-IDF; poison that teaches one thing says it in like words. There is no neural step here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

ALIKE = 0.6
"""Cosine of TF-IDF vectors from which two answers are alike."""
LEAST = 4
"""Answers of a cluster."""
MOST_ROWS = 2000
"""Answers clustered at most: the cost grows with their square."""
DRAWS = 100
"""Random sets of rows in the null."""
_TERMS = 4
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_MAX_WORDS = 200


@dataclass(frozen=True)
class Cluster:
    """Answers that disagree with the base and are alike."""

    rows: tuple[int, ...]
    """Its rows."""
    terms: tuple[str, ...]
    """Words that tell it from the other answers."""
    null: int
    """Largest such cluster among as many random rows: the highest of `DRAWS` draws."""


def clusters(answers: Sequence[str], disagree: Sequence[bool], *, seed: int) -> list[Cluster]:
    """Clusters of at least `LEAST` disagreeing answers that are larger than chance makes them.

    Null: as many rows drawn at random from the whole set. Where all rows disagree it is the set
    itself, and nothing is found: likeness is then the set's own style.
    """
    suspects = np.flatnonzero(np.asarray(disagree, dtype=bool))[:MOST_ROWS]
    if len(suspects) < LEAST:
        return []
    space = vectors(answers)
    groups = components(space[suspects], ALIKE)
    stream = np.random.default_rng(seed)
    null = max(
        _largest(space[stream.choice(len(answers), size=len(suspects), replace=False)])
        for _ in range(DRAWS)
    )
    found = []
    for group, size in Counter(groups.tolist()).most_common():
        if size < LEAST or size <= null:
            break
        rows = suspects[groups == group]
        found.append(Cluster(tuple(int(i) for i in rows), _terms(answers, rows), null))
    return found


def vectors(texts: Sequence[str]) -> csr_matrix:
    """Unit TF-IDF vectors [n, terms] over words and pairs of words."""
    vocabulary: dict[str, int] = {}
    places, columns, counts = [0], [], []
    for text in texts:
        terms = Counter(_terms_of(text))
        columns += [vocabulary.setdefault(term, len(vocabulary)) for term in terms]
        counts += list(terms.values())
        places.append(len(columns))
    shape = (len(texts), max(1, len(vocabulary)))
    matrix = csr_matrix((np.asarray(counts, dtype=np.float32), columns, places), shape=shape)
    present = np.bincount(np.asarray(columns, dtype=np.intp), minlength=shape[1])
    weights = np.log((1 + shape[0]) / (1 + present)) + 1
    matrix.data *= weights[matrix.indices].astype(np.float32)
    norms = np.sqrt(matrix.multiply(matrix).sum(1)).A1
    matrix.data /= np.repeat(np.maximum(norms, 1e-12), np.diff(matrix.indptr)).astype(np.float32)
    return matrix


def components(space: csr_matrix, alike: float) -> NDArray[np.int32]:
    """Group of each row: rows are joined by chains of cosines of at least `alike`."""
    product = (space @ space.T).tocsr()
    product.data = (product.data >= alike).astype(np.float32)
    product.eliminate_zeros()
    groups: NDArray[np.int32] = connected_components(product, directed=False)[1]
    return groups


def _largest(space: csr_matrix) -> int:
    return int(np.bincount(components(space, ALIKE)).max())


def _terms_of(text: str) -> list[str]:
    words = _WORD.findall(text.casefold())[:_MAX_WORDS]
    return words + [f"{a} {b}" for a, b in zip(words, words[1:], strict=False)]


def _terms(answers: Sequence[str], rows: NDArray[np.intp]) -> tuple[str, ...]:
    """Terms in most of the cluster's answers that are rare in the others."""
    inside, outside = Counter[str](), Counter[str]()
    members = {int(i) for i in rows}
    for index, text in enumerate(answers):
        (inside if index in members else outside).update(set(_terms_of(text)))
    rest = max(1, len(answers) - len(members))

    def lift(term: str) -> float:
        return inside[term] / len(members) - outside[term] / rest

    best = sorted(inside, key=lambda term: (-lift(term), -len(term), term))
    return tuple(best[:_TERMS])
