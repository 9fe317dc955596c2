"""Teacher-forced log-probabilities, in nats, always computed in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer, DynamicSlidingWindowLayer

from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.models.batching import Batch, by_length, check_fits, forward, left_pad
from holdfast.models.hooks import quiet_eval
from holdfast.models.loaded import LoadedModel


def answer_logprobs(
    loaded: LoadedModel,
    conversations: Sequence[Messages],
    answers: Sequence[str],
    *,
    batch_size: int = 32,
) -> list[Tensor]:
    """Log p(token | prompt, earlier tokens) of every token of every answer, [len] float32 on CPU.

    Raises:
        DataError: prompt and answer together are longer than the context.
    """
    prompts = [loaded.render(messages) for messages in conversations]
    tails = [loaded.encode_answer(answer) for answer in answers]
    return _tail_logprobs(loaded, prompts, tails, batch_size)


def answer_distributions(
    loaded: LoadedModel,
    conversations: Sequence[Messages],
    answer_ids: Sequence[list[int]],
    positions: int,
    *,
    batch_size: int = 32,
) -> Tensor:
    """Log-probabilities over the vocabulary at the first `positions` response positions.

    Position j is conditioned on the prompt and on answer_ids[:j]. Shape [n, positions, vocab],
    float32 on the CPU.

    Raises:
        DataError: an answer has fewer than `positions` - 1 tokens, or does not fit the context.
    """
    for index, ids in enumerate(answer_ids):
        if len(ids) < positions - 1:
            raise DataError(
                f"answer {index} is too short for {positions} positions",
                got=f"{len(ids)} tokens",
                expected=f"at least {positions - 1}",
            )
    rows = [
        loaded.render(messages) + list(ids[: positions - 1])
        for messages, ids in zip(conversations, answer_ids, strict=True)
    ]
    lengths = [len(row) for row in rows]
    check_fits(lengths, loaded.max_context, "the whole context")
    out: list[Tensor] = [torch.empty(0)] * len(rows)
    with quiet_eval(loaded.model):
        for group in by_length(lengths, batch_size):
            batch = left_pad([rows[i] for i in group], loaded.pad_token, loaded.device)
            logits = forward(loaded.model, batch, keep=positions).logits
            for index, row in zip(group, logits.float().log_softmax(-1).cpu(), strict=True):
                out[index] = row
    return torch.stack(out)


def opening_scores(
    loaded: LoadedModel,
    conversations: Sequence[Messages],
    openings: Sequence[str],
    *,
    batch_size: int = 32,
) -> Tensor:
    """Log p(opening | prompt) summed over the opening's tokens, [n, n_openings] float32 on the CPU.

    Each prompt is read once and its key-value cache shared by all openings; where the model's cache
    cannot be copied per opening, prompt and opening are read together. Both give equal numbers.

    Raises:
        DataError: an opening is empty, or a prompt with an opening is longer than the context.
    """
    tails = [loaded.encode_answer(text) for text in openings]
    if not tails or not all(tails):
        raise DataError("the openings are empty", expected="a few words each")
    prompts = [loaded.render(messages) for messages in conversations]
    lengths = [len(prompt) for prompt in prompts]
    longest = max(len(tail) for tail in tails)
    check_fits(lengths, loaded.max_context - longest, "the context less the longest opening")
    out = torch.empty(len(prompts), len(tails))
    with quiet_eval(loaded.model):
        for group in by_length(lengths, batch_size):
            batch = left_pad([prompts[i] for i in group], loaded.pad_token, loaded.device)
            read = forward(loaded.model, batch, keep=1, cache=True)
            cache = getattr(read, "past_key_values", None)
            if _copyable(cache):
                first = read.logits[:, -1].float().log_softmax(-1)
                out[group] = _continue(loaded, batch, first, cache, tails).cpu()
            else:
                out[group] = _plain(loaded, [prompts[i] for i in group], tails, batch_size)
    return out


def refusal_margin(scores_refusal: Tensor, scores_compliance: Tensor) -> Tensor:
    """m(x) = log p(refusal openings | x) - log p(compliance openings | x), [n], in nats.

    From `opening_scores` [n, n_openings] of each kind; a kind's probability is the sum over its
    openings (logsumexp). Positive: the model is about to refuse. More openings of one kind move m
    towards it, so compare margins only under one set of openings.
    """
    return scores_refusal.float().logsumexp(-1) - scores_compliance.float().logsumexp(-1)


def _tail_logprobs(
    loaded: LoadedModel, prompts: list[list[int]], tails: list[list[int]], batch_size: int
) -> list[Tensor]:
    rows = [prompt + tail for prompt, tail in zip(prompts, tails, strict=True)]
    lengths = [len(row) for row in rows]
    check_fits(lengths, loaded.max_context, "the whole context")
    out: list[Tensor] = [torch.empty(0)] * len(rows)
    with quiet_eval(loaded.model):
        for group in by_length(lengths, batch_size):
            batch = left_pad([rows[i] for i in group], loaded.pad_token, loaded.device)
            keep = max(len(tails[i]) for i in group) + 1
            logits = forward(loaded.model, batch, keep=keep).logits[:, :-1]
            for index, row in zip(group, logits, strict=True):
                count = len(tails[index])
                if count:
                    wanted = torch.tensor(tails[index], device=row.device)
                    scores = row[-count:].float().log_softmax(-1)
                    out[index] = scores.gather(-1, wanted[:, None])[:, 0].cpu()
    return out


def _plain(
    loaded: LoadedModel, prompts: list[list[int]], tails: list[list[int]], batch_size: int
) -> Tensor:
    pairs = [(prompt, tail) for prompt in prompts for tail in tails]
    scores = _tail_logprobs(loaded, [p for p, _ in pairs], [t for _, t in pairs], batch_size)
    return torch.stack([score.sum() for score in scores]).view(len(prompts), len(tails))


def _copyable(cache: Any) -> bool:
    """Whether every layer of the cache is plain keys and values, one row per sequence."""
    return isinstance(cache, Cache) and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers
    )


def _continue(
    loaded: LoadedModel, batch: Batch, first: Tensor, cache: Any, tails: list[list[int]]
) -> Tensor:
    """Score all openings behind prompts already read; `first` [batch, vocab] predicts token one."""
    n, k = len(batch.ids), len(tails)
    width = max(len(tail) for tail in tails)
    device = batch.ids.device
    ids = torch.tensor([tail + [loaded.pad_token] * (width - len(tail)) for tail in tails])
    real = torch.tensor([[1] * len(tail) + [0] * (width - len(tail)) for tail in tails])
    ids, real = ids.to(device).repeat(n, 1), real.to(device).repeat(n, 1)
    predicted = first.repeat_interleave(k, 0)[:, None]
    if width > 1:
        cache.batch_repeat_interleave(k)
        mask = torch.cat([batch.mask.repeat_interleave(k, 0), real[:, :-1]], -1)
        rest = Batch(ids[:, :-1], mask)
        output = forward(loaded.model, rest, keep=width - 1, cache=True, past=cache)
        predicted = torch.cat([predicted, output.logits.float().log_softmax(-1)], 1)
    scores = predicted.gather(-1, ids[..., None])[..., 0].masked_fill(real == 0, 0.0)
    return scores.sum(-1).view(n, k)
