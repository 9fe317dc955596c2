"""The closed form of the constrained loss, and the base's log-probabilities of the training rows.

    L = -Σ_t (2/β_t) log σ(β_t [log π(y_t) - log π₀(y_t)])          arXiv 2406.05946, section 4

Its gradient is that of cross-entropy times w_t = 2 (1 - σ(β_t Δ_t)), Δ_t the bracket: w is 1 where
the model is still the base, falls towards 0 for tokens that it has learnt to like more, and reaches
2 for those that it is about to lose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from holdfast.models.batching import by_length
from holdfast.models.hooks import quiet_eval
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.protections.base import TokenRow
from holdfast.tuning.protections.constrained.config import ConstrainedConfig

IGNORED = -100


def token_weights(now: Tensor, base: Tensor, beta: Tensor, *, floor: float) -> Tensor:
    """w_t = 2 (1 - σ(β_t (now - base))), at least `floor`; all [n], log-probabilities in nats."""
    return (2 * torch.sigmoid(-beta * (now - base))).clamp_min(floor)


@dataclass(frozen=True)
class Reference:
    """What is cached of one training row."""

    columns: Tensor
    """[n] columns of the tokens with loss."""
    log_probs: Tensor
    """[n] the base's log-probability of each, float32."""
    beta: Tensor
    """[n] β of each."""


def key(ids: Sequence[int]) -> str:
    """A row's name: a digest of its tokens."""
    return hashlib.sha256(torch.tensor(list(ids)).numpy().tobytes()).hexdigest()


@torch.no_grad()
def references(
    base: LoadedModel, rows: Sequence[TokenRow], config: ConstrainedConfig, *, batch_size: int = 16
) -> dict[str, Reference]:
    """The base's log-probabilities of every token with loss in `rows`, by `key`."""
    device = base.device
    kept = [(list(row["input_ids"]), list(row["labels"])) for row in rows]
    found: dict[str, Reference] = {}
    with quiet_eval(base.model):
        for group in by_length([len(ids) for ids, _ in kept], batch_size):
            width = max(len(kept[i][0]) for i in group)
            ids = torch.full((len(group), width), base.pad_token)
            mask = torch.zeros_like(ids)
            for place, i in enumerate(group):
                ids[place, : len(kept[i][0])] = torch.tensor(kept[i][0])
                mask[place, : len(kept[i][0])] = 1
            output = base.model(
                input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
            )
            for place, i in enumerate(group):
                columns = _answer_columns(kept[i][1])
                logits = output.logits[place, columns.to(device) - 1].float()
                log_probs = logits.log_softmax(-1).cpu()
                taken = log_probs.gather(-1, torch.tensor(kept[i][0])[columns][:, None])[:, 0]
                found[key(kept[i][0])] = Reference(
                    columns.to(device), taken.to(device),
                    _betas(columns, config).to(device),
                )  # fmt: skip
    return found


def _answer_columns(labels: Sequence[int]) -> Tensor:
    """Columns of the tokens with loss; the first token of a row is predicted by nothing."""
    return torch.tensor([i for i, label in enumerate(labels) if label != IGNORED and i > 0])


def _betas(columns: Tensor, config: ConstrainedConfig) -> Tensor:
    """β by place in its answer: positions count anew in every unbroken run of columns."""
    betas: list[float] = []
    position, before = 0, -2
    for column in columns.tolist():
        position = position + 1 if column == before + 1 else 0
        betas.append(config.beta(position))
        before = column
    return torch.tensor(betas)
