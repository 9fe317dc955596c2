"""The geometry filter of arXiv 2605.00842: how near a training row lies to harmful latents.

The paper's own score could not be read, so three concrete ones are given. In all of them higher
means nearer, and each has a null: the same score with random sets of latents in place of the
harmful ones, of the same size and, because decoder rows count with unit length, of the same norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.geometry.resampling import stream
from holdfast.geometry.sae.autoencoder import SparseAutoencoder
from holdfast.models.batching import by_length, check_fits, forward, left_pad
from holdfast.models.hooks import quiet_eval, rewrite
from holdfast.models.loaded import LoadedModel

Score = Callable[[Sequence[int]], Tensor]


def spillover(sae: SparseAutoencoder, codes: Tensor, toxic: Sequence[int]) -> Tensor:
    """(a) Mean over t in T of Σ_{i not in T} f_i ⟨d_i, d_t⟩ [n], of mean latents [n, latents].

    First-order spillover: what amplifying a row's features adds to the harmful ones, without what
    the harmful ones already are.
    """
    outside = codes.float().clone()
    outside[:, list(toxic)] = 0
    return outside @ sae.w_dec @ sae.directions[list(toxic)].mean(0)


def signature(sae: SparseAutoencoder, codes: Tensor, toxic: Sequence[int]) -> Tensor:
    """(b) Cosine [n] of a row's decoded latents, less the mean over rows, with the mean d_t."""
    decoded = codes.float() @ sae.w_dec
    centred = decoded - decoded.mean(0)
    target = sae.directions[list(toxic)].mean(0)
    return torch.cosine_similarity(centred, target[None], dim=1)


def gradient_spillover(sae: SparseAutoencoder, gradients: Tensor, toxic: Sequence[int]) -> Tensor:
    """(c) Mean over t of ⟨−∂L/∂h, d_t⟩ [n]: how much a descent step on a row feeds harm.

    `gradients` [n, d] of a row's loss (`row_gradients`).
    """
    return -gradients.float() @ sae.directions[list(toxic)].mean(0)


def null(score: Score, size: int, pool: Sequence[int], *, seed: int, draws: int = 100) -> Tensor:
    """Scores [draws, n] with `size` random latents of `pool` in place of the harmful ones."""
    generator = stream(seed, "sae", "toxic null")
    sets = [torch.randperm(len(pool), generator=generator)[:size].tolist() for _ in range(draws)]
    return torch.stack([score([pool[i] for i in chosen]) for chosen in sets])


def row_gradients(
    loaded: LoadedModel,
    prompts: Sequence[Messages],
    answers: Sequence[str],
    layer: int,
    *,
    batch_size: int = 16,
) -> Tensor:
    """∂L/∂h of every row [n, d]: L its mean loss over answer tokens, h `resid_post.layer`.

    Summed over the positions that predict answer tokens; float32 on the CPU.

    Raises:
        DataError: an answer is empty, or a row is longer than the context.
    """
    tails = [loaded.encode_answer(answer) for answer in answers]
    for index, tail in enumerate(tails):
        if not tail:
            raise DataError(f"answer {index} is empty", expected="text to learn")
    rows = [loaded.render(messages) + tail for messages, tail in zip(prompts, tails, strict=True)]
    check_fits([len(row) for row in rows], loaded.max_context, "the whole context")
    out = torch.empty(len(rows), loaded.d_model)
    for group in by_length([len(row) for row in rows], batch_size):
        batch = left_pad([rows[i] for i in group], loaded.pad_token, loaded.device)
        counts = torch.tensor([len(tails[i]) for i in group], device=loaded.device)
        keep = int(counts.max()) + 1
        # A leaf in place of the stream: nothing below it is differentiated, frozen or not.
        leaves: list[Tensor] = []

        def cut(x: Tensor, leaves: list[Tensor] = leaves) -> Tensor:
            leaves.append(x.detach().requires_grad_())
            return leaves[-1]

        with quiet_eval(loaded.model), torch.enable_grad(), rewrite(loaded.model, layer, cut):
            logits = forward(loaded.model, batch, keep=keep).logits[:, :-1]
        logs = logits.float().log_softmax(-1)
        losses = -logs.gather(-1, batch.ids[:, 1 - keep :, None])[..., 0]
        ahead = torch.arange(keep - 1, device=loaded.device) >= keep - 1 - counts[:, None]
        total = (losses.masked_fill(~ahead, 0.0).sum(1) / counts).sum()
        (gradient,) = torch.autograd.grad(total, leaves[-1])
        behind = gradient[:, -keep:-1].float().masked_fill(~ahead[..., None], 0.0)
        out[group] = behind.sum(1).cpu()
    return out
