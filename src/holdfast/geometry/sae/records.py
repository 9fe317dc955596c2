"""What is measured about an SAE, as records."""

from __future__ import annotations

from holdfast.core.records import Part, Record


class SaeFidelity(Record):
    """How much of a model's stream an SAE keeps, on one set of texts; `inputs` name both."""

    site: str
    """Where."""
    tokens: int
    """Tokens measured."""
    latents: int
    """Size of the dictionary."""
    explained_variance: float
    """1 − Σ‖x − x̂‖² / Σ‖x − mean‖² over all tokens; 1 is perfect, below 0 worse than the mean."""
    active: float
    """Latents above zero per token (L0)."""
    dead: int
    """Latents that never fired on these tokens."""
    loss: float
    """Next-token loss of the model, nats."""
    loss_spliced: float
    """The same with every activation replaced by its reconstruction."""
    loss_zero: float
    """The same with zeros instead."""
    loss_mean: float
    """The same with the mean activation instead, a stricter yardstick."""
    recovered: float | None
    """(loss_zero − loss_spliced) / (loss_zero − loss); None where zeros cost nothing."""
    recovered_mean: float | None
    """The same against the mean."""


class LatentChange(Part):
    """One latent before and after."""

    latent: int
    """Its index."""
    before: float
    """Mean activation in the base."""
    after: float
    """Mean activation in the candidate."""
    change: float
    """after − before."""
    low: float
    """Lower end of the paired bootstrap interval of the change."""
    high: float
    """Upper end."""
    p: float
    """Family-wise p-value: how often sign flips of the prompts give any latent this large a t."""
    harmful: bool
    """Whether it is one of the harmful latents."""
    nearest: int | None = None
    """Harmful latent with the nearest decoder row, itself left out; None where there is none."""
    cosine: float | None = None
    """Their cosine."""


class Nearness(Part):
    """How near a set of latents is to the harmful ones, beside the two nulls."""

    of: str
    """`rose` or `fell`."""
    size: int
    """Latents in the set."""
    mean: float
    """Mean cosine over all pairs."""
    mean_of_max: float
    """Mean over the set of the largest cosine with a harmful latent."""
    random_mean: float
    """97.5th percentile of `mean` over random sets of live latents of the same size."""
    random_mean_of_max: float
    """The same of `mean_of_max`."""
    p_mean: float
    """Share of random sets at least as near by `mean`."""
    p_mean_of_max: float
    """The same by `mean_of_max`."""
    permuted_mean: float
    """97.5th percentile of `mean` over harmful sets chosen with permuted labels."""


class SaeDiff(Record):
    """What a fine-tune changed, latent by latent; `inputs` name SAE, models and prompts."""

    site: str
    """Where."""
    prompts: int
    """Prompts asked of both."""
    alpha: float
    """Family-wise level at which a latent counts as moved."""
    harmful: tuple[int, ...]
    """Harmful latents, chosen on the training split, strongest first."""
    rose: tuple[LatentChange, ...]
    """Latents that rose, largest change first."""
    fell: tuple[LatentChange, ...]
    """Latents that fell, largest change first."""
    tested: int
    """Latents that fired in either model."""
    unmoved: tuple[int, ...] = ()
    """Those among them that did not move and are not harmful: controls for edits."""
    nearness: tuple[Nearness, ...] = ()
    """Of what rose and of what fell."""
