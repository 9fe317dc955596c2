"""One sparse autoencoder, whoever trained it: x ≈ b_dec + Σ_i f_i d_i with few f_i above zero."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch
from torch import Tensor

from holdfast.core.digest import sha256_json
from holdfast.core.errors import DataError, UsageError

Activation = Literal["relu", "topk", "jumprelu"]
MAX_WIDTH = 1 << 16
"""Widest residual stream that is read."""
MAX_LATENTS = 1 << 21
"""Most latents that are read."""
MAX_VALUES = 1 << 31
"""Most numbers in one matrix: 8 GiB in float32."""


@dataclass(frozen=True)
class SparseAutoencoder:
    """Weights and activation function; everything is float32 and finite."""

    w_enc: Tensor = field(repr=False)
    """Encoder [d, latents]."""
    b_enc: Tensor = field(repr=False)
    """Encoder bias [latents]."""
    w_dec: Tensor = field(repr=False)
    """Decoder [latents, d]; row i is the direction that latent i writes, of any length."""
    b_dec: Tensor = field(repr=False)
    """Decoder bias [d]."""
    activation: Activation
    """`relu`; `topk` (the k largest, arXiv 2406.04093); `jumprelu` (arXiv 2407.14435)."""
    k: int = 0
    """Active latents of `topk`."""
    threshold: Tensor | None = field(default=None, repr=False)
    """Thresholds [latents] of `jumprelu`: what does not exceed them is zero."""
    centred: bool = True
    """Whether `b_dec` is subtracted before encoding."""
    site: str = ""
    """`resid_post.L`; empty where the file does not say."""
    origin: str = ""
    """Format that it was read from."""
    notes: dict[str, str] = field(default_factory=dict)
    """What its maker wrote beside it: model, seed, number of tokens …"""

    def __post_init__(self) -> None:
        """Refuse wrong shapes, values that are no numbers and an activation without its setting."""
        if self.w_enc.ndim != 2:
            raise _fault("its encoder is no matrix", f"shape {list(self.w_enc.shape)[:8]}")
        d, m = self.w_enc.shape
        check_size(d, m)
        wanted = {"b_enc": (m,), "w_dec": (m, d), "b_dec": (d,)}
        if self.activation == "jumprelu":
            wanted["threshold"] = (m,)
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is None or tuple(value.shape) != shape:
                got = "none" if value is None else f"shape {list(value.shape)[:8]}"
                raise _fault(f"its {name} does not fit the encoder", got, f"shape {list(shape)}")
        for name in ("w_enc", *wanted):
            if not bool(torch.isfinite(getattr(self, name)).all()):
                raise _fault(f"its {name} holds NaN or infinity", "", "finite numbers")
        if self.activation == "topk" and not 1 <= self.k <= m:
            raise _fault("its k is out of range", str(self.k), f"1 to {m}")

    @property
    def width(self) -> int:
        """Width d of the stream that it reads."""
        return self.w_enc.shape[0]

    @property
    def latents(self) -> int:
        """Number of latents."""
        return self.w_enc.shape[1]

    @property
    def layer(self) -> int:
        """Index L of its site `resid_post.L`.

        Raises:
            UsageError: the site is not known.
        """
        if not self.site:
            raise UsageError(
                "it is not known which site this SAE was trained on",
                next_step="name it: --site resid_post.L, or FILE#resid_post.L in a plan",
            )
        return layer_of(self.site)

    @property
    def directions(self) -> Tensor:
        """Unit decoder rows [latents, d]; a row of zeros stays zero."""
        norms: Tensor = self.w_dec.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return torch.div(self.w_dec, norms)

    @property
    def decoder(self) -> Tensor:
        """The decoder rows [latents, d], under the name that the audit asks for."""
        return self.w_dec

    def pre_activations(self, x: Tensor) -> Tensor:
        """Encoder output before the activation, for `x` [..., d]."""
        shifted = x.float() - self.b_dec if self.centred else x.float()
        return shifted @ self.w_enc + self.b_enc

    def encode(self, x: Tensor) -> Tensor:
        """Latent activations f [..., latents] ≥ 0 of `x` [..., d], float32."""
        z = self.pre_activations(x)
        if self.activation == "topk":
            top = z.topk(self.k, dim=-1)
            return torch.zeros_like(z).scatter(-1, top.indices, top.values.relu())
        if self.threshold is not None:
            return torch.where(z > self.threshold, z, 0.0).relu()
        return z.relu()

    def decode(self, f: Tensor) -> Tensor:
        """Reconstruction [..., d] of latents `f` [..., latents]."""
        return f @ self.w_dec + self.b_dec

    def reconstruct(self, x: Tensor) -> Tensor:
        """Encode and decode `x` [..., d], float32."""
        return self.decode(self.encode(x))

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("w_enc", "b_enc", "w_dec")}
        threshold = None if self.threshold is None else self.threshold.to(device)
        return replace(self, **moved, b_dec=self.b_dec.to(device), threshold=threshold)

    def at(self, site: str) -> Self:
        """The same, said to be of `site`."""
        layer_of(site)
        return replace(self, site=site)

    def digest(self) -> str:
        """SHA-256 over weights, activation and site."""
        parts = {
            name: hashlib.sha256(value.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
            for name in ("w_enc", "b_enc", "w_dec", "b_dec", "threshold")
            if (value := getattr(self, name)) is not None
        }
        return sha256_json([parts, self.activation, self.k, self.centred, self.site])


def check_size(width: int, latents: int) -> None:
    """Refuse an SAE that no machine here could hold, before anything of it is read.

    Raises:
        DataError: a size is zero or beyond the limits above.
    """
    if not 1 <= width <= MAX_WIDTH or not 1 <= latents <= MAX_LATENTS:
        raise _fault(
            "its size",
            f"{width} × {latents}",
            f"at most {MAX_WIDTH} wide and {MAX_LATENTS} latents",
        )
    if width * latents > MAX_VALUES:
        raise _fault("a matrix is too large", f"{width} × {latents}", f"{MAX_VALUES} numbers")


def layer_of(site: str) -> int:
    """L of `resid_post.L`, the output of decoder block L counted from 0."""
    head, _, number = site.partition(".")
    if head != "resid_post" or not number.isdecimal():
        raise UsageError("unknown site", got=site[:80], expected="resid_post.L")
    return int(number)


def _fault(what: str, got: str, expected: str = "") -> DataError:
    return DataError(f"the SAE cannot be used: {what}", got=got, expected=expected)
