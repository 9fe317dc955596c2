"""Synthetic activations with planted geometry, and a small contrast set of texts."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from holdfast.core.records import Site
from holdfast.geometry import safety_map
from holdfast.geometry.contrast import ContrastRow, Openings
from holdfast.geometry.fitted import FittedMap
from holdfast.geometry.selection import SiteRules

FEATURES = [("harmful", "a"), ("harmful", "b"), ("harmful", "c"), ("era", "era"), ("persona", "p")]
SIZES = {"train": 16, "validation": 8, "test": 20}
D = 48


def make_rows(sizes: dict[str, int] | None = None) -> list[ContrastRow]:
    rows = []
    for concept, category in FEATURES:
        for split, size in (sizes or SIZES).items():
            for label in (0, 1):
                for i in range(size):
                    name = f"{concept}-{category}-{split}-{label}-{i}"
                    text = f"{'how to spoil' if label else 'how to mend'} {category} number {i}"
                    message = {"role": "user", "content": f"{text}, {split} {concept}"}
                    rows.append(ContrastRow(concept, category, label, split, name, [message]))
    return rows


def planted(d: int = D) -> Tensor:
    """One direction per feature [F, d]: harm categories share half, the others are apart."""
    eye = torch.eye(d, dtype=torch.float64)
    harm = [eye[0] * 4 + eye[i + 1] * 4 for i in range(3)]
    return torch.stack([*harm, eye[5] * 4 + eye[0], eye[6] * 4])


def sample(rows: list[ContrastRow], directions: Tensor, seed: int) -> Tensor:
    """Activations [n, d]: unit noise, plus the feature's direction for positives."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(rows), directions.shape[1], generator=generator, dtype=torch.float64)
    means = [directions[FEATURES.index((r.concept, r.category))] * r.label for r in rows]
    return noise + torch.stack(means)


def fit_synthetic(
    rows: list[ContrastRow], activations: dict[int, Tensor], seed: int = 0, **options: Any
) -> FittedMap:
    """A map from activations, with every layer chosen."""
    width = next(iter(activations.values())).shape[1]
    model: Any = SimpleNamespace(digest="base", d_model=width, device="cpu")
    sites = [
        Site(name=f"resid_post.{layer}", layer=layer, bypass=float(layer), induce=1.0, kl=0.0,
             separation=1.0, chosen=True, reason="planted")
        for layer in activations
    ]  # fmt: skip
    openings = Openings(("I cannot",), ("Sure",))
    work = safety_map._Work(model, rows, openings, activations, SiteRules(), 8, seed)
    arrays = safety_map._arrays(work, sites, options.get("energy", 0.9), options.get("k"))
    return safety_map._assemble(work, sites, arrays, True, "planted")


@pytest.fixture(scope="session")
def world() -> SimpleNamespace:
    """Tools to build worlds, and one that is fitted."""
    rows = make_rows()
    base = sample(rows, planted(), 0)
    tools: dict[str, Callable[..., Any]] = {
        "make_rows": make_rows, "planted": planted, "sample": sample, "fit": fit_synthetic,
    }  # fmt: skip
    return SimpleNamespace(
        rows=rows, base=base, fitted=fit_synthetic(rows, {1: base, 2: base * 3 + 1}), **tools
    )
