"""Causal edits: set chosen latents while a model runs, and leave everything else as it was.

The stream gets only the decoder's difference, x' = x + Σ_i (f'_i − f_i) d_i, so what the SAE fails
to explain stays in it, and an edit of nothing changes nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from holdfast.core.config import Config
from holdfast.core.digest import combine, sha256_json
from holdfast.core.errors import UsageError
from holdfast.core.protocols import Messages
from holdfast.geometry.sae.autoencoder import SparseAutoencoder
from holdfast.geometry.sae.fidelity import check_fits
from holdfast.models.architecture import unwrap
from holdfast.models.hooks import rewrite
from holdfast.models.loaded import LoadedModel


class LatentEdit(Config):
    """What is done to which latents."""

    latents: tuple[int, ...] = Field(min_length=1)
    """Indices of the latents."""
    how: Literal["set", "at-most", "at-least"] = "set"
    """Give them the value; or lower (raise) them to it where they are above (below)."""
    value: float = Field(0.0, ge=0, le=1e4)
    """The value, in activations; 0 with `set` is ablation."""


def apply(sae: SparseAutoencoder, x: Tensor, edits: Sequence[LatentEdit]) -> Tensor:
    """`x` [..., d] with the latents edited in the order given, in `x`'s dtype."""
    before = sae.encode(x)
    after = before.clone()
    for edit in edits:
        chosen = list(edit.latents)
        if edit.how == "set":
            after[..., chosen] = edit.value
        elif edit.how == "at-most":
            after[..., chosen] = after[..., chosen].clamp(max=edit.value)
        else:
            after[..., chosen] = after[..., chosen].clamp(min=edit.value)
    touched = sorted({latent for edit in edits for latent in edit.latents})
    shift = torch.sub(after[..., touched], before[..., touched]) @ sae.w_dec[touched]
    return (x.float() + shift).to(x.dtype)


@contextlib.contextmanager
def editing(
    loaded: LoadedModel, sae: SparseAutoencoder, edits: Sequence[LatentEdit]
) -> Iterator[None]:
    """Edit the latents at every token that the SAE reads, prompt and answer, while inside.

    Padding and the first position are left alone: no SAE is trained on them.

    Raises:
        UsageError: the SAE does not fit the model, or has no such latent.
    """
    check_fits(sae, loaded)
    for edit in edits:
        for latent in edit.latents:
            if not 0 <= latent < sae.latents:
                raise UsageError(
                    f"latent {latent} does not exist", expected=f"0 to {sae.latents - 1}"
                )
    here = sae.to(loaded.device)
    seen: dict[str, Tensor | None] = {}

    def look(_module: Any, args: Any, kwargs: Any) -> None:
        mask = kwargs.get("attention_mask")
        seen["mask"] = mask if isinstance(mask, Tensor) and mask.ndim == 2 else None

    def change(x: Tensor) -> Tensor:
        edited = apply(here, x, edits)
        mask = seen.get("mask")
        if mask is None:
            return edited
        read = ((mask == 1) & (mask.cumsum(-1) > 1))[:, -x.shape[1] :]
        return torch.where(read[..., None], edited, x)

    handle = unwrap(loaded.model).register_forward_pre_hook(look, with_kwargs=True)
    try:
        with rewrite(loaded.model, sae.layer, change):
            yield
    finally:
        handle.remove()


@dataclass
class EditedModel:
    """A model with edited latents; implements `core.protocols.Generator`, so it can be gated."""

    loaded: LoadedModel
    """The model."""
    sae: SparseAutoencoder
    """Whose latents."""
    edits: tuple[LatentEdit, ...]
    """What is done to them."""
    digest: str = field(init=False)
    """Identity of the model, the SAE and the edits together."""

    def __post_init__(self) -> None:
        """Work out the identity once."""
        done = sha256_json([edit.model_dump() for edit in self.edits])
        self.digest = combine(
            {"model": self.loaded.digest, "sae": self.sae.digest(), "edits": done}
        )

    def generate(
        self,
        conversations: Sequence[Messages],
        *,
        max_new_tokens: int,
        batch_size: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """One answer per conversation with the edits in place; see `LoadedModel.generate`."""
        with editing(self.loaded, self.sae, self.edits):
            return self.loaded.generate(
                conversations, max_new_tokens=max_new_tokens, batch_size=batch_size,
                temperature=temperature, seed=seed,
            )  # fmt: skip
