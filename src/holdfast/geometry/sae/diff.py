"""Model diff in latents: what rose, what fell, and how near it lies to harm.

Means over a fixed prompt set before and after (arXiv 2506.19823). A change counts when its t beats
the largest t of any latent under random sign flips of the prompts (family-wise), and nearness to
harmful latents is read beside random latents and beside sets chosen with permuted labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from holdfast.core.errors import DataError
from holdfast.geometry.resampling import stream
from holdfast.geometry.sae.autoencoder import SparseAutoencoder
from holdfast.geometry.sae.features import HarmfulLatents
from holdfast.geometry.sae.records import LatentChange, Nearness, SaeDiff

FLIPS = 1000
"""Sign flips of the null."""
RANDOM_SETS = 1000
"""Random sets of latents of the nearness null."""
LISTED = 50
"""Moved latents listed in either direction."""


def compare(
    sae: SparseAutoencoder,
    before: Tensor,
    after: Tensor,
    harmful: HarmfulLatents,
    *,
    seed: int,
    alpha: float = 0.05,
    resamples: int = 500,
    inputs: dict[str, str] | None = None,
) -> SaeDiff:
    """Compare latents `before` and `after` [prompts, latents] on the same prompts.

    Args:
        sae: whose latents.
        before: activations in the base, one row a prompt.
        after: activations in the candidate, same prompts in the same order.
        harmful: chosen on other prompts.
        seed: seed of flips, bootstrap and random sets.
        alpha: family-wise level.
        resamples: bootstrap samples of prompts.
        inputs: digests of SAE, models and prompts, for the record.

    Raises:
        DataError: shapes differ, or fewer than 8 prompts.
    """
    if before.shape != after.shape or before.shape[1] != sae.latents or len(before) < 8:
        raise DataError(
            "the two sets of latents cannot be compared",
            got=f"shapes {list(before.shape)} and {list(after.shape)}",
            expected=f"[prompts, {sae.latents}], the same prompts, at least 8",
        )
    live = (before > 0).any(0) | (after > 0).any(0)
    difference = (after.double() - before.double())[:, live]
    index = live.nonzero()[:, 0]
    p = max_t(difference, seed=seed)
    low, high = _bootstrap(difference, resamples, seed)
    mean = difference.mean(0)
    near, cosine = _nearest(sae, harmful.latents)
    found: dict[str, tuple[LatentChange, ...]] = {}
    sets: dict[str, list[int]] = {}
    for name, sign in (("rose", 1.0), ("fell", -1.0)):
        moved = ((p <= alpha) & (mean * sign > 0)).nonzero()[:, 0]
        moved = moved[(mean[moved] * sign).argsort(descending=True, stable=True)]
        sets[name] = index[moved].tolist()
        found[name] = tuple(
            LatentChange(
                latent=latent, before=float(before[:, latent].mean()),
                after=float(after[:, latent].mean()), change=float(mean[at]), low=float(low[at]),
                high=float(high[at]), p=float(p[at]), harmful=latent in harmful.latents,
                nearest=near[latent], cosine=cosine[latent],
            )
            for at, latent in zip(moved.tolist()[:LISTED], sets[name][:LISTED], strict=True)
        )  # fmt: skip
    alive = [latent for latent in index.tolist() if latent not in harmful.latents]
    still = set(index[p > alpha].tolist())
    return SaeDiff(
        inputs=inputs or {}, seed=seed, environment={"torch": torch.__version__}, site=sae.site,
        prompts=len(before), alpha=alpha, harmful=harmful.latents, tested=len(index),
        unmoved=tuple(latent for latent in alive if latent in still),
        rose=found["rose"], fell=found["fell"],
        nearness=tuple(
            nearness(sae, name, chosen, harmful, alive, seed=seed)
            for name, chosen in sets.items()
            if set(chosen) - set(harmful.latents)
        ),
    )  # fmt: skip


def max_t(difference: Tensor, *, seed: int, flips: int = FLIPS) -> Tensor:
    """Family-wise p-values [m] of mean paired differences [n, m] by the largest |t| of sign flips.

    Under the null a prompt's differences are symmetric about zero. Standard errors have the median
    one as their floor, or a latent that moved on a single prompt would lead the list.
    """
    x = difference.double()
    n = len(x)
    squares = x.square().sum(0)
    floor = (squares.sqrt() / n).median().clamp_min(1e-12)

    def statistic(sums: Tensor) -> Tensor:
        mean = sums / n
        variance = (squares / n - mean.square()).clamp_min(0) / (n - 1)
        return mean.abs() / variance.sqrt().clamp_min(floor)

    real = statistic(x.sum(0))
    generator = stream(seed, "sae", "flips")
    signs = torch.randint(0, 2, (flips, n), generator=generator).double() * 2 - 1
    largest = torch.cat([statistic(part @ x).max(1).values for part in torch.split(signs, 100)])
    ranked = largest.sort().values
    at_least = flips - torch.searchsorted(ranked, real, right=False)
    return (1 + at_least) / (1 + flips)


def nearness(
    sae: SparseAutoencoder,
    name: str,
    chosen: Sequence[int],
    harmful: HarmfulLatents,
    alive: Sequence[int],
    *,
    seed: int,
    sets: int = RANDOM_SETS,
) -> Nearness:
    """Cosine of the latents `chosen` with the harmful ones, both readings, with both nulls.

    arXiv 2605.00842 gives no formula for the similarity of two sets that could be read; both
    natural ones are here. Harmful latents among `chosen` are left out of it, because their cosine
    with themselves is one. Random sets are drawn from `alive`, latents that fire and are not
    harmful.
    """
    unit = sae.directions.double()
    own = [latent for latent in chosen if latent not in harmful.latents]
    table = unit @ unit[list(harmful.latents)].mT
    mean, peak = table.mean(1), table.max(1).values
    generator = stream(seed, "sae", "random sets", name)
    size = min(len(own), len(alive))
    draws = torch.stack(
        [torch.randperm(len(alive), generator=generator)[:size] for _ in range(sets)]
    )
    pool = torch.tensor(list(alive))[draws]
    random_mean, random_peak = mean[pool].mean(1), peak[pool].mean(1)
    here = torch.tensor(own)
    value, value_peak = mean[here].mean(), peak[here].mean()
    meaningless = torch.tensor([list(row) for row in harmful.permuted])
    permuted = torch.stack([(unit[here] @ unit[row].mT).mean() for row in meaningless])
    return Nearness(
        of=name, size=len(own), mean=float(value), mean_of_max=float(value_peak),
        random_mean=float(random_mean.quantile(0.975)),
        random_mean_of_max=float(random_peak.quantile(0.975)),
        p_mean=_share(random_mean, value), p_mean_of_max=_share(random_peak, value_peak),
        permuted_mean=float(permuted.quantile(0.975)),
    )  # fmt: skip


def _share(null: Tensor, value: Tensor) -> float:
    return float((1 + (null >= value).sum()) / (1 + len(null)))


def _bootstrap(difference: Tensor, resamples: int, seed: int) -> tuple[Tensor, Tensor]:
    """95 % percentile intervals [m] of the mean over prompts."""
    n = len(difference)
    generator = stream(seed, "sae", "bootstrap")
    draws = torch.randint(n, (resamples, n), generator=generator)
    counts = torch.zeros(resamples, n, dtype=torch.float64)
    counts.scatter_add_(1, draws, torch.ones_like(draws, dtype=torch.float64))
    means = (counts / n) @ difference
    ends = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    return ends[0], ends[1]


def _nearest(
    sae: SparseAutoencoder, harmful: Sequence[int]
) -> tuple[list[int | None], list[float | None]]:
    """For every latent the harmful latent with the nearest decoder row, itself left out."""
    unit = sae.directions
    table = unit @ unit[list(harmful)].mT
    for column, latent in enumerate(harmful):
        table[latent, column] = -torch.inf
    best = table.max(1)
    near: list[int | None] = [harmful[i] for i in best.indices.tolist()]
    cosine: list[float | None] = best.values.tolist()
    if len(harmful) == 1:
        near[harmful[0]] = cosine[harmful[0]] = None
    return near, cosine
