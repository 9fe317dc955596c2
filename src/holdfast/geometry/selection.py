"""Site selection on the base alone: the bypass / induce / KL filter of arXiv 2406.11717.

Per layer, the difference-of-means direction r is ablated everywhere (does refusal go away on
harmful prompts, and nothing else change?) and added at its own layer (does refusal appear on
harmless prompts?). Appendix C of the paper; the refusal score here is the refusal margin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from holdfast.core.config import Config
from holdfast.core.protocols import Messages, Progress
from holdfast.core.records import Site
from holdfast.geometry.contrast import Openings
from holdfast.models.hooks import ablate, add_vector
from holdfast.models.loaded import LoadedModel
from holdfast.models.scoring import answer_distributions, opening_scores, refusal_margin


class SiteRules(Config):
    """Thresholds of the filter; the defaults are the paper's."""

    max_kl: float = Field(default=0.1, gt=0)
    """Largest KL(base ‖ ablated) at the last position of harmless prompts, in nats."""
    min_induce: float = 0.0
    """Smallest mean refusal margin on harmless prompts with the direction added."""
    max_depth: float = Field(default=0.8, gt=0, le=1)
    """Layers from this share of the depth on are dropped; the last layer always is."""
    keep: int = Field(default=3, ge=1)
    """Most sites that are chosen."""


class Causal(NamedTuple):
    """Causal scores of one layer."""

    bypass: float
    induce: float
    kl: float


class Prompts(NamedTuple):
    """Validation prompts of the filter."""

    harmful: list[Messages]
    harmless: list[Messages]


def margins(
    loaded: LoadedModel, conversations: Sequence[Messages], openings: Openings, batch_size: int
) -> Tensor:
    """Refusal margin [n] of every conversation, in nats; positive means about to refuse."""
    texts = [*openings.refusal, *openings.compliance]
    scores = opening_scores(loaded, conversations, texts, batch_size=batch_size)
    cut = len(openings.refusal)
    return refusal_margin(scores[:, :cut], scores[:, cut:])


def causal_scores(
    loaded: LoadedModel, prompts: Prompts, directions: dict[int, Tensor], openings: Openings,
    *, batch_size: int, progress: Progress,
) -> dict[int, Causal]:  # fmt: skip
    """Bypass, induce and KL of every layer's direction [d] (not normalised)."""
    before = _next_token(loaded, prompts.harmless, batch_size)
    scores = {}
    for done, (layer, direction) in enumerate(directions.items()):
        progress("testing layers", done, len(directions))
        with ablate(loaded.model, direction.float()):
            bypass = margins(loaded, prompts.harmful, openings, batch_size)
            after = _next_token(loaded, prompts.harmless, batch_size)
        with add_vector(loaded.model, layer, direction.float()):
            induce = margins(loaded, prompts.harmless, openings, batch_size)
        kl = (before.exp() * (before - after)).nan_to_num(0.0).sum(-1).mean()
        scores[layer] = Causal(float(bypass.mean()), float(induce.mean()), float(kl))
    progress("testing layers", len(directions), len(directions))
    return scores


def candidate_layers(n_layers: int, rules: SiteRules) -> range:
    """Layers that depth allows: below max_depth · n_layers, and never the last.

    In a model of five layers or fewer the share alone would let the last layer through, where a
    direction is already the answer and no longer a feature.
    """
    allowed = [i for i in range(n_layers - 1) if i < rules.max_depth * n_layers]
    return range(len(allowed))


def choose(
    scores: dict[int, Causal], separations: dict[int, float], unablated: float,
    n_layers: int, rules: SiteRules,
) -> list[Site]:  # fmt: skip
    """Every layer as a `Site`, in order of depth; survivors with the lowest bypass are chosen.

    `unablated` is the mean margin on harmful prompts of the untouched model: ablation has to lower
    it, otherwise the direction carries no refusal.
    """
    allowed = candidate_layers(n_layers, rules)
    faults = {
        layer: _fault(layer, score, unablated, allowed, rules) for layer, score in scores.items()
    }
    ranked = sorted((s for s in scores if not faults[s]), key=lambda layer: scores[layer].bypass)
    sites = []
    for layer, score in scores.items():
        chosen = layer in ranked[: rules.keep]
        reason = faults[layer] or (
            f"rank {ranked.index(layer) + 1} of {len(ranked)} by bypass"
            + ("" if chosen else f", and {rules.keep} are kept")
        )
        sites.append(
            Site(
                name=site_name(layer),
                layer=layer,
                bypass=score.bypass,
                induce=score.induce,
                kl=score.kl,
                separation=separations[layer],
                chosen=chosen,
                reason=reason,
            )  # fmt: skip
        )
    return sites


def fall_back(sites: list[Site], n_layers: int, rules: SiteRules) -> list[Site]:
    """Choose the site of best separation where none survived; its reason says so."""
    allowed = candidate_layers(n_layers, rules) or range(n_layers)
    best = max((s for s in sites if s.layer in allowed), key=lambda site: site.separation)
    note = f"no site survived; chosen for the best separation ({best.reason})"
    replaced = best.model_copy(update={"chosen": True, "reason": note})
    return [replaced if site is best else site for site in sites]


def site_name(layer: int) -> str:
    """`resid_post.L`, the output of decoder block L counted from 0."""
    return f"resid_post.{layer}"


def _fault(layer: int, score: Causal, unablated: float, allowed: range, rules: SiteRules) -> str:
    """Why a layer is dropped; empty where it survives."""
    if layer not in allowed:
        return f"dropped: too close to the output (layers 0 to {len(allowed) - 1} are considered)"
    if score.kl > rules.max_kl:
        return f"dropped: ablation changes harmless prompts (KL {score.kl:.3f} > {rules.max_kl})"
    if score.induce < rules.min_induce:
        return (
            "dropped: adding the direction induces no refusal "
            f"(margin {score.induce:.2f} < {rules.min_induce})"
        )
    if score.bypass >= unablated:
        return (
            "dropped: ablation does not lower refusal "
            f"(margin {score.bypass:.2f}, untouched {unablated:.2f})"
        )
    return ""


def _next_token(loaded: LoadedModel, conversations: Sequence[Messages], batch_size: int) -> Tensor:
    """Log-probabilities [n, vocab] at the last prompt position."""
    empty: list[list[int]] = [[] for _ in conversations]
    found = answer_distributions(loaded, conversations, empty, 1, batch_size=batch_size)
    return torch.as_tensor(found[:, 0], dtype=torch.float64)
