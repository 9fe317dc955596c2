"""Batched generation that gives every conversation the same answer in any batch.

Greedy runs through `transformers` with nothing taken from the model's own generation file except
its end tokens. Sampling draws one uniform number per step from a stream that belongs to the
conversation and inverts the distribution with it, so an answer depends on the seed and the
conversation, never on its neighbours.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from holdfast.core.digest import prompt_digest
from holdfast.core.errors import UsageError
from holdfast.core.protocols import Messages
from holdfast.core.seeds import derive
from holdfast.models import rendering
from holdfast.models.architecture import unwrap
from holdfast.models.batching import by_length, check_fits, left_pad
from holdfast.models.hooks import quiet_eval

if TYPE_CHECKING:
    from holdfast.models.loaded import LoadedModel


class InverseSampler(LogitsProcessor):  # type: ignore[misc]
    """Samples p(token) ~ exp(logit / temperature) by inverting its cumulative sum at given numbers.

    Everything but the drawn token becomes -inf, so greedy decoding then takes it.
    """

    def __init__(self, uniforms: Tensor, temperature: float) -> None:
        """`uniforms` [batch, steps] in [0, 1), float64."""
        self.uniforms, self.temperature, self.step = uniforms, temperature, 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [batch, vocab] with one finite entry per row."""
        probabilities = (scores.double() / self.temperature).softmax(-1)
        cumulative = probabilities.cumsum(-1)
        drawn = self.uniforms[:, self.step, None].to(scores.device) * cumulative[:, -1:]
        # right=True skips tokens of probability zero, also at a drawn 0.
        token = torch.searchsorted(cumulative, drawn, right=True)
        token = token.clamp(max=scores.shape[-1] - 1)
        self.step += 1
        return torch.full_like(scores, -torch.inf).scatter(-1, token, 0.0)


def generate(
    loaded: LoadedModel,
    conversations: Sequence[Messages],
    *,
    max_new_tokens: int,
    batch_size: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """One answer per conversation, in order; see `LoadedModel.generate`."""
    if max_new_tokens < 1 or temperature < 0:
        raise UsageError("generation needs max_new_tokens >= 1 and temperature >= 0")
    rows = [loaded.render(messages) for messages in conversations]
    lengths = [len(row) for row in rows]
    room = loaded.max_context - max_new_tokens
    check_fits(lengths, room, f"the context less {max_new_tokens} new tokens")
    streams = _streams(conversations, seed)
    answers = [""] * len(rows)
    config = _config(loaded, max_new_tokens)
    model = cast(Any, unwrap(loaded.model))
    with quiet_eval(loaded.model), _own_settings(model):
        for group in by_length(lengths, batch_size):
            batch = left_pad([rows[i] for i in group], loaded.pad_token, loaded.device)
            processors = LogitsProcessorList()
            if temperature > 0:
                uniforms = torch.stack([_uniforms(streams[i], max_new_tokens) for i in group])
                processors.append(InverseSampler(uniforms, temperature))
            output = model.generate(
                input_ids=batch.ids, attention_mask=batch.mask,
                generation_config=config, logits_processor=processors,
            )  # fmt: skip
            for index, row in zip(group, output[:, batch.ids.shape[1] :].tolist(), strict=True):
                answers[index] = _decode(loaded, row)
    return answers


def _config(loaded: LoadedModel, max_new_tokens: int) -> GenerationConfig:
    ends = sorted(loaded.end_tokens)
    return GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, use_cache=True,
        eos_token_id=ends or None, pad_token_id=loaded.pad_token,
    )  # fmt: skip


@contextlib.contextmanager
def _own_settings(model: Any) -> Iterator[None]:
    """Hide the model's generation file: its values fill every field that ours leaves unset."""
    previous = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = previous


def _streams(conversations: Sequence[Messages], seed: int) -> list[int]:
    """A seed per conversation, by content; repeated conversations get streams of their own."""
    seen: Counter[str] = Counter()
    seeds = []
    for messages in conversations:
        digest = prompt_digest(messages)
        seeds.append(derive(seed, "generate", digest, seen[digest]))
        seen[digest] += 1
    return seeds


def _uniforms(seed: int, steps: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(steps, generator=generator, dtype=torch.float64)


def _decode(loaded: LoadedModel, row: list[int]) -> str:
    """Text up to the first end token; after it the batch only holds padding."""
    end = next((i for i, token in enumerate(row) if token in loaded.end_tokens), len(row))
    text: str = loaded.tokenizer.decode(row[:end], skip_special_tokens=True)
    if not rendering.has_template(loaded.tokenizer):
        text = text.split(rendering.STOP, 1)[0]
    return text.strip()
