"""The safety map of a base model and the drift of a fine-tune against it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from holdfast.core.records.base import Part, Record

DriftName = Literal["direction_collapse", "interference_growth", "subspace_rotation"]


class Site(Part):
    """A layer considered for measuring, with the causal scores that chose or rejected it."""

    name: str
    """`resid_post.L`: the output of decoder block L, counted from 0."""
    layer: int
    """L."""
    bypass: float
    """Mean refusal margin on harmful prompts with the direction ablated (low: it carries it)."""
    induce: float
    """Mean refusal score on harmless prompts with the direction added (high: it causes refusal)."""
    kl: float
    """KL divergence on harmless prompts when the direction is ablated, in nats."""
    separation: float
    """d-prime of harmful against harmless on validation prompts."""
    chosen: bool
    """Whether drifts are measured here."""
    reason: str
    """Why it was chosen or dropped."""


class CategoryDirection(Part):
    """Separation of one concept or harm category at one site, on the base."""

    concept: str
    """Concept: `harmful`, `persona`, `era` …"""
    category: str
    """Harm category, or the concept's own name."""
    site: str
    """Site name."""
    norm: float
    """Euclidean norm of the difference of means."""
    separation: float
    """d-prime on test prompts."""
    auroc: float
    """AUROC on test prompts."""


class DriftValue(Part):
    """One drift at one site, never without its interval, floor and null."""

    drift: DriftName
    """Which of the three."""
    site: str
    """Site name."""
    value: float
    """The drift; zero is no change, positive is loss."""
    low: float
    """Lower end of the bootstrap interval over prompts."""
    high: float
    """Upper end of the bootstrap interval over prompts."""
    floor: float
    """The same between disjoint halves of the base's own prompts (95th percentile or above)."""
    null: float
    """The same for random directions of matched norm or permuted labels (95th percentile)."""
    extras: dict[str, float] = {}
    """Companions: norm ratio, AUROC change, cosine, overlap beside its random value, spillover …"""

    @property
    def distinguishable(self) -> bool:
        """Whether the drift stands out of its own noise floor."""
        return abs(self.value) > self.floor


class WeightShare(Part):
    """Share of a weight update that lies in the safety subspace."""

    module: str
    """Name of the matrix that writes to the residual stream."""
    site: str
    """Site whose subspace was used."""
    value: float
    """e = |S'ΔW|² / |ΔW|², in [0, 1]."""
    random: float
    """k/d, the expectation for a random update."""


class SafetyMap(Record):
    """Where the base keeps its safety: fitted on the base alone, before any training."""

    base: str
    """Model digest of the base."""
    sites: tuple[Site, ...]
    """Every candidate site, chosen or not."""
    directions: tuple[CategoryDirection, ...]
    """Separation of every category at the chosen sites."""
    subspace_dims: dict[str, int]
    """Dimension k of the safety subspace by site."""
    floors: dict[str, float]
    """Noise floor by "drift@site"."""
    d_model: int
    """Width of the residual stream."""
    eligible: bool
    """Whether there is a safety behaviour to map and preserve."""
    eligibility: str
    """Why, in one sentence."""
    arrays: str
    """SHA-256 of the safetensors file with directions and subspaces, `safety_map.safetensors`."""


class DriftReport(Record):
    """The three drifts of one checkpoint against the base."""

    base: str
    """Model digest of the base."""
    candidate: str
    """Model digest of the checkpoint."""
    arm: str
    """`plain`, `protected` …"""
    step: int
    """Optimizer step of the checkpoint."""
    drifts: tuple[DriftValue, ...]
    """The three drifts at every chosen site."""
    weight_shares: tuple[WeightShare, ...] = ()
    """Weight-space shares; compare them only within one tuning method."""


class MonitorPoint(Part):
    """What the monitor saw at one optimizer step."""

    step: int
    """Optimizer step, 0 before the first update."""
    loss: float | None
    """Training loss last logged."""
    margin: float
    """Mean refusal margin over probe prompts, in nats."""
    negative_share: float
    """Share of probe prompts whose margin is below zero."""
    first_token_kl: float
    """Mean KL(now || base) over the first five response positions, in nats."""
    drifts: dict[str, float]
    """Point value of each drift by "drift@site"."""
    latents: dict[str, float] = Field(default_factory=dict)
    """Share of the base's harmful SAE latents lost on harmful prompts, and risen on harmless ones,
    by stream; empty without an SAE."""
    seconds: float
    """Time that this observation took."""
    alarm: bool = False
    """Whether the alarm rule fired here."""
    score: float | None = None
    """The combined monitor's statistic, where it looked."""
    score_threshold: float | None = None
    """The value above which it fires."""
