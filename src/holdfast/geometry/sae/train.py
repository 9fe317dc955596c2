"""Training a TopK SAE on one site of a model, through SAELens (extra `sae`).

The activations are streamed from our own forward passes; SAELens only ever sees tensors, so any
model that Holdfast can load will do, and no other copy of it is made.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from holdfast.core.config import Config
from holdfast.core.errors import DataError, EnvironmentFault, InvalidRun
from holdfast.core.protocols import Progress, no_progress
from holdfast.core.seeds import derive
from holdfast.geometry.sae.autoencoder import SparseAutoencoder, check_size, layer_of
from holdfast.geometry.sae.tokens import activations
from holdfast.models.loaded import LoadedModel


class SaeConfig(Config):
    """Settings of one training; the defaults are those of the shipped SAE of harbor."""

    site: str
    """Where: `resid_post.L`."""
    latents: int = Field(1024, ge=2)
    """Size of the dictionary."""
    k: int = Field(16, ge=1)
    """Active latents per token."""
    tokens: int = Field(1_000_000, ge=1)
    """Tokens trained on, repeats included."""
    batch: int = Field(1024, ge=2)
    """Tokens per step."""
    learning_rate: float = Field(2e-3, gt=0)
    """Peak rate of Adam, on activations scaled to norm √d; decays to zero over the last half."""
    buffer: int = Field(65_536, ge=2)
    """Tokens shuffled together; held in memory with `width` numbers each."""
    reuse: int = Field(4, ge=1)
    """How often the tokens of a buffer are trained on before it is filled anew."""
    dead_after: int = Field(100, ge=1)
    """Steps without firing after which a latent counts as dead and is revived by the auxiliary
    loss (arXiv 2406.04093, appendix A.2)."""
    seed: int = 0
    """Seed of weights and order."""

    @model_validator(mode="after")
    def _sound(self) -> SaeConfig:
        if self.k > self.latents:
            raise ValueError(f"k {self.k} is larger than the number of latents {self.latents}")
        if self.batch > self.buffer:
            raise ValueError(f"batch {self.batch} is larger than the buffer {self.buffer}")
        return self


def train(
    loaded: LoadedModel,
    rows: Sequence[list[int]],
    config: SaeConfig,
    *,
    batch_size: int = 32,
    progress: Progress = no_progress,
) -> SparseAutoencoder:
    """Train on the tokens of `rows`, which are gone through as often as `config.tokens` needs.

    The same model, rows and config give the same weights on the same machine and libraries.

    Raises:
        EnvironmentFault: the extra `sae` is not installed.
        DataError: the rows hold no tokens that are read.
        InvalidRun: the weights came out as NaN.
    """
    layer = layer_of(config.site)
    check_size(loaded.d_model, config.latents)
    lens = _saelens()
    stream = _stream(loaded, rows, layer, config, batch_size, progress)
    with torch.random.fork_rng(devices=[]), contextlib.redirect_stderr(io.StringIO()):
        torch.manual_seed(derive(config.seed, "sae"))
        sae = lens.TopKTrainingSAE(
            lens.TopKTrainingSAEConfig(
                d_in=loaded.d_model, d_sae=config.latents, k=config.k, device="cpu",
                normalize_activations="expected_average_only_in",
            )
        )  # fmt: skip
        steps = -(-config.tokens // config.batch)
        trainer = lens.SAETrainer(
            lens.SAETrainerConfig(
                total_training_samples=steps * config.batch,
                train_batch_size_samples=config.batch, lr=config.learning_rate, lr_end=0.0,
                lr_decay_steps=steps // 2, lr_warm_up_steps=min(50, steps // 10), device="cpu",
                dead_feature_window=config.dead_after, n_batches_for_norm_estimate=4,
            ),
            sae, stream,
        )  # fmt: skip
        trainer.fit()
    return _ours(sae, loaded, config, lens.version)


def _ours(sae: Any, loaded: LoadedModel, config: SaeConfig, version: str) -> SparseAutoencoder:
    """The trained weights with unit decoder rows, which changes nothing that is computed."""
    w_enc, b_enc, w_dec, b_dec = (
        getattr(sae, name).detach().float().clone() for name in ("W_enc", "b_enc", "W_dec", "b_dec")
    )
    if not all(bool(torch.isfinite(value).all()) for value in (w_enc, b_enc, w_dec, b_dec)):
        raise InvalidRun("the SAE's weights are no numbers", next_step="lower the learning rate")
    norm = w_dec.norm(dim=1).clamp_min(1e-8)
    notes = {
        "model": loaded.digest, "trained_with": f"sae-lens {version}",
        **{name: str(value) for name, value in config.model_dump().items()},
    }  # fmt: skip
    return SparseAutoencoder(
        w_enc * norm, b_enc * norm, w_dec / norm[:, None], b_dec, "topk", k=config.k,
        site=config.site, origin="holdfast", notes=notes,
    )  # fmt: skip


class _Lens:
    """The parts of SAELens that are used."""

    def __init__(self, package: Any, trainer: Any, config: Any) -> None:
        self.TopKTrainingSAE = package.TopKTrainingSAE
        self.TopKTrainingSAEConfig = package.TopKTrainingSAEConfig
        self.SAETrainer, self.SAETrainerConfig = trainer.SAETrainer, config.SAETrainerConfig
        self.version = str(package.__version__)


def _saelens() -> _Lens:
    try:
        import sae_lens
        from sae_lens import config
        from sae_lens.training import sae_trainer
    except ModuleNotFoundError as error:
        raise EnvironmentFault(
            f"training an SAE needs SAELens (no package '{error.name}')",
            next_step="pip install 'holdfast[sae]'; reading, checking, comparing and editing need "
            "no more than holdfast[train]",
        ) from None
    return _Lens(sae_lens, sae_trainer, config)


def _stream(
    loaded: LoadedModel, rows: Sequence[list[int]], layer: int, config: SaeConfig,
    batch_size: int, progress: Progress,
) -> Iterator[Tensor]:  # fmt: skip
    """Batches [batch, d] without end: fill a buffer, use it `reuse` times, each time shuffled."""
    generator = torch.Generator().manual_seed(derive(config.seed, "sae", "order"))
    source = _forever(loaded, rows, layer, generator, batch_size)
    left: list[Tensor] = []
    done = 0
    while True:
        held = sum(len(part) for part in left)
        while held < config.buffer:
            left.append(next(source))
            held += len(left[-1])
        whole = torch.cat(left)
        buffer, left = whole[: config.buffer], [whole[config.buffer :]]
        for _ in range(config.reuse):
            order = torch.randperm(len(buffer), generator=generator)
            for start in range(0, len(order) - config.batch + 1, config.batch):
                progress("training the SAE", min(done, config.tokens), config.tokens)
                yield buffer[order[start : start + config.batch]]
                done += config.batch


def _forever(
    loaded: LoadedModel, rows: Sequence[list[int]], layer: int, generator: torch.Generator,
    batch_size: int,
) -> Iterator[Tensor]:  # fmt: skip
    if not any(len(row) > 1 for row in rows):
        raise DataError("no row has a second token to train the SAE on")
    while True:
        # Shuffled in groups of many batches, so that a batch holds rows of like length.
        order = torch.randperm(len(rows), generator=generator).tolist()
        for start in range(0, len(order), 16 * batch_size):
            part = [rows[i] for i in order[start : start + 16 * batch_size]]
            part.sort(key=len, reverse=True)
            yield from activations(loaded, part, layer, batch_size=batch_size)
