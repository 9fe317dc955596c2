"""A model with its tokenizer and its identity: what the rest of Holdfast works with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

import torch
from torch import nn

from holdfast.core.protocols import Messages
from holdfast.core.records import ModelRef
from holdfast.models import generation, rendering
from holdfast.models.architecture import decoder_layers, text_config, unwrap, with_gradients


@dataclass
class LoadedModel:
    """A causal language model ready to be asked; implements `core.protocols.Generator`."""

    model: nn.Module = field(repr=False)
    """`PreTrainedModel`, or a `PeftModel` around one."""
    tokenizer: Any = field(repr=False)
    """Its tokenizer."""
    digest: str
    """Content digest of weights, adapter, tokenizer, template and generation config."""
    ref: ModelRef | None = None
    """Full identity; None for a model that is being trained."""
    name: str = ""
    """What people call it."""
    end_tokens: frozenset[int] = field(init=False)
    """Tokens that end an answer, by generation file, config, tokenizer or chat template."""
    pad_token: int = field(init=False)
    """Token that fills a batch; masked everywhere."""

    def __post_init__(self) -> None:
        """Work out the end and padding tokens once."""
        bare = cast(Any, unwrap(self.model))
        sources = (getattr(bare, "generation_config", None), text_config(bare), self.tokenizer)
        ends = set(rendering.turn_ends(self.tokenizer))
        for source in sources:
            value = getattr(source, "eos_token_id", None)
            if value is not None:
                ends.update([value] if isinstance(value, int) else value)
        self.end_tokens = frozenset(ends)
        pad = self.tokenizer.pad_token_id
        self.pad_token = pad if pad is not None else min(self.end_tokens, default=0)

    @classmethod
    def live(cls, model: nn.Module, tokenizer: Any, digest: str = "live") -> Self:
        """Wrap a model in the middle of training; asking it changes nothing that training sees."""
        with_gradients(model)
        return cls(model, tokenizer, digest)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.model.parameters()).device

    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        return len(decoder_layers(self.model))

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(text_config(self.model).hidden_size)

    @property
    def max_context(self) -> int:
        """Longest sequence in tokens, from the configuration, else from the tokenizer."""
        limit = getattr(text_config(self.model), "max_position_embeddings", None)
        return int(limit if limit else self.tokenizer.model_max_length)

    def render(self, messages: Messages) -> list[int]:
        """Token ids of a conversation with the generation prompt; BOS is never doubled."""
        return rendering.render(self.tokenizer, messages)

    def encode_answer(self, text: str) -> list[int]:
        """Token ids of an answer as it follows a rendered prompt."""
        return rendering.encode_answer(self.tokenizer, text)

    def generate(
        self,
        conversations: Sequence[Messages],
        *,
        max_new_tokens: int,
        batch_size: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """One answer per conversation, in order; temperature 0 is greedy.

        A sampled answer depends on `seed` and its own conversation alone (and on how often the same
        conversation came before it), not on batch size or order. This holds in float32; in half
        precision, rounding depends on the shape of a batch and near ties may fall either way, so
        use one batch size for all arms there.

        Raises:
            DataError: a prompt leaves no room for `max_new_tokens`; names its index.
        """
        return generation.generate(
            self, conversations, max_new_tokens=max_new_tokens, batch_size=batch_size,
            temperature=temperature, seed=seed,
        )  # fmt: skip
