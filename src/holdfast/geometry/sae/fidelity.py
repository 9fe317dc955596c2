"""How faithful an SAE is: to the activations, and to what the model does with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from holdfast.core.digest import sha256_json
from holdfast.core.errors import DataError, UsageError
from holdfast.core.protocols import Progress, no_progress
from holdfast.geometry.sae.autoencoder import SparseAutoencoder
from holdfast.geometry.sae.records import SaeFidelity
from holdfast.geometry.sae.tokens import activations, read_positions
from holdfast.models.batching import Batch, by_length, forward, left_pad
from holdfast.models.hooks import quiet_eval, rewrite
from holdfast.models.loaded import LoadedModel

Change = Callable[[Tensor], Tensor]


def explained_variance(x: Tensor, reconstruction: Tensor) -> float:
    """1 − Σ‖x − x̂‖² / Σ‖x − mean‖² for `x` and `reconstruction` [n, d]; the mean is over n.

    Raises:
        DataError: the activations have no variance to explain.
    """
    wide = x.double()
    total = (wide - wide.mean(0)).square().sum()
    if not total > 0:
        raise DataError("the activations do not vary, so no variance can be explained")
    return 1 - float((wide - reconstruction.double()).square().sum() / total)


def fidelity(
    sae: SparseAutoencoder,
    loaded: LoadedModel,
    rows: Sequence[list[int]],
    *,
    batch_size: int = 32,
    progress: Progress = no_progress,
) -> SaeFidelity:
    """Measure `sae` on the tokens of `rows` as `loaded` sees them; padding and first tokens apart.

    Loss recovered splices the reconstruction into the stream of every token that the SAE reads and
    lets the rest of the model run on it.

    Raises:
        UsageError: the SAE has another width than the model, or no known site.
        DataError: the activations do not vary.
    """
    check_fits(sae, loaded)
    here = sae.to(loaded.device)
    progress("reading activations", 0, 5)
    x = torch.cat(list(activations(loaded, rows, sae.layer, batch_size=batch_size)))
    codes = [sae.encode(part) for part in torch.split(x, 4096)]
    variance = explained_variance(x, torch.cat([sae.decode(part) for part in codes]))
    fired = torch.stack([(part > 0).sum(0) for part in codes]).sum(0)
    mean = x.mean(0).to(loaded.device)
    changes: tuple[Change | None, ...] = (
        None, here.reconstruct, torch.zeros_like, lambda part: mean.expand_as(part),
    )  # fmt: skip
    losses = []
    for number, change in enumerate(changes):
        progress("measuring losses", 1 + number, 5)
        losses.append(_loss(loaded, rows, sae.layer, change, batch_size))
    clean, spliced, zero, average = losses
    return SaeFidelity(
        inputs={"sae": sae.digest(), "model": loaded.digest, "rows": sha256_json(list(rows))},
        environment={"torch": torch.__version__}, site=sae.site, tokens=len(x), latents=sae.latents,
        explained_variance=variance, active=float(fired.sum()) / len(x),
        dead=int((fired == 0).sum()), loss=clean, loss_spliced=spliced, loss_zero=zero,
        loss_mean=average, recovered=_recovered(clean, spliced, zero),
        recovered_mean=_recovered(clean, spliced, average),
    )  # fmt: skip


def check_fits(sae: SparseAutoencoder, loaded: LoadedModel) -> None:
    """Refuse an SAE that cannot be of this model.

    Raises:
        UsageError: another width, or a layer that the model does not have.
    """
    if sae.width != loaded.d_model or not 0 <= sae.layer < loaded.n_layers:
        raise UsageError(
            "the SAE does not fit the model",
            got=f"width {sae.width} at {sae.site}",
            expected=f"width {loaded.d_model} at resid_post.0 to {loaded.n_layers - 1}",
        )


def check_trained_on(sae: SparseAutoencoder, base: LoadedModel) -> None:
    """Refuse an SAE that does not fit `base`, or whose maker wrote that it is another model's.

    Raises:
        UsageError: either.
    """
    check_fits(sae, base)
    model = sae.notes.get("model", base.digest)
    if model != base.digest:
        raise UsageError(
            "the SAE is another model's", got=f"one of {str(model)[:12]}",
            expected=f"one of {base.digest[:12]}",
            next_step="train one on this base: holdfast sae train",
        )  # fmt: skip


def _loss(
    loaded: LoadedModel, rows: Sequence[list[int]], layer: int, change: Change | None, size: int
) -> float:
    """Mean next-token loss in nats over everything behind the tokens that the SAE reads."""
    total, count = 0.0, 0
    for group in by_length([len(row) for row in rows], size):
        batch = left_pad([rows[i] for i in group], loaded.pad_token, loaded.device)
        wanted = read_positions(batch)
        context = _splice_read(loaded, layer, change, wanted) if change else nullcontext()
        with quiet_eval(loaded.model), context:
            logits = forward(loaded.model, batch, keep=batch.ids.shape[1]).logits
        losses, behind = _next_token(logits, batch, wanted)
        total += float(losses[behind].double().sum())
        count += int(behind.sum())
    if not count:
        raise DataError("no row has a third token, so there is no loss to compare")
    return total / count


def _splice_read(
    loaded: LoadedModel, layer: int, change: Change, wanted: Tensor
) -> AbstractContextManager[None]:
    def put(x: Tensor) -> Tensor:
        changed = x.clone()
        changed[wanted] = change(x[wanted].float()).to(x.dtype)
        return changed

    return rewrite(loaded.model, layer, put)


def _next_token(logits: Tensor, batch: Batch, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Losses [n, length − 1] of the following tokens, and which of them count."""
    logs = logits[:, :-1].float().log_softmax(-1)
    losses = -logs.gather(-1, batch.ids[:, 1:, None])[..., 0]
    return losses, wanted[:, :-1]


def _recovered(clean: float, spliced: float, without: float) -> float | None:
    return (without - spliced) / (without - clean) if without > clean else None
