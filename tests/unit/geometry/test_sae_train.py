"""Training through SAELens: deterministic, faithful to planted features, readable both ways."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from holdfast.core.errors import ConfigError, EnvironmentFault, UsageError
from holdfast.geometry.sae import train as sae_train
from holdfast.geometry.sae.fidelity import explained_variance
from holdfast.geometry.sae.read import read, write
from holdfast.geometry.sae.tokens import activations, encode_rows
from holdfast.geometry.sae.train import SaeConfig, train
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.testing.tiny import build

needs_saelens = pytest.mark.skipif(
    importlib.util.find_spec("sae_lens") is None, reason="the extra 'sae' is not installed"
)
SMALL = {
    "site": "resid_post.1", "latents": 64, "k": 8, "tokens": 10_000, "batch": 128, "buffer": 512,
    "dead_after": 30,
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(build(tmp_path_factory.mktemp("sae-train"), "llama"))


@pytest.fixture(scope="module")
def rows(tiny: LoadedModel) -> list[list[int]]:
    words = ("the", "ferry", "lamp", "net", "tide", "harbour", "six", "mend", "show", "clean")
    texts = [" ".join(words[(i * j) % len(words)] for j in range(1, 14)) for i in range(40)]
    return encode_rows(tiny, [[{"role": "user", "content": text}] for text in texts])


@needs_saelens
def test_training_is_deterministic_and_beats_the_mean(
    tiny: LoadedModel, rows: list[list[int]], tmp_path: Path
) -> None:
    config = SaeConfig.model_validate(SMALL)
    first, second = (train(tiny, rows, config) for _ in range(2))
    assert first.digest() == second.digest()
    other = train(tiny, rows, config.model_copy(update={"seed": 1}))
    assert other.digest() != first.digest()
    x = torch.cat(list(activations(tiny, rows, 1)))
    assert explained_variance(x, first.reconstruct(x)) > 0.5
    assert first.w_dec.norm(dim=1).tolist() == pytest.approx([1.0] * 64, abs=1e-4)
    assert float((first.encode(x) > 0).sum(1).max()) <= 8

    write(first, tmp_path)
    from sae_lens import SAE

    theirs = SAE.load_from_disk(str(tmp_path), device="cpu")
    assert torch.allclose(theirs.encode(x), first.encode(x), atol=1e-4)
    assert torch.allclose(theirs(x), first.reconstruct(x), atol=1e-3)
    theirs.save_model(tmp_path / "theirs")
    again = read(tmp_path / "theirs")
    assert torch.allclose(again.encode(x), first.encode(x), atol=1e-4)
    assert again.site == "resid_post.1"


@needs_saelens
def test_training_leaves_the_random_state_alone(tiny: LoadedModel, rows: list[list[int]]) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(tiny, rows, SaeConfig.model_validate({**SMALL, "tokens": 512}))
    assert torch.equal(before, torch.get_rng_state())


def test_without_saelens_the_next_step_is_named(
    tiny: LoadedModel, rows: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    with pytest.raises(EnvironmentFault, match=r"holdfast\[sae\]"):
        train(tiny, rows, SaeConfig.model_validate(SMALL))


def test_bad_settings(tiny: LoadedModel, rows: list[list[int]]) -> None:
    from holdfast.core.config import parse

    for change in ({"k": 65}, {"batch": 1024}, {"latents": 0}, {"kk": 3}):
        with pytest.raises(ConfigError):
            parse(SaeConfig, {**SMALL, **change}, source="a test")
    with pytest.raises(UsageError, match="resid_post"):
        train(tiny, rows, SaeConfig.model_validate({**SMALL, "site": "mlp.3"}))


def test_every_token_is_used_as_often_as_said(tiny: LoadedModel, rows: list[list[int]]) -> None:
    config = SaeConfig.model_validate({**SMALL, "batch": 64, "buffer": 256, "reuse": 3})
    stream = sae_train._stream(tiny, rows, 1, config, 8, lambda *_: None)
    drawn = torch.cat([next(stream) for _ in range(12)])
    first = torch.unique(drawn, dim=0, return_counts=True)[1]
    assert int(first.min()) >= 3
    assert len(drawn) == 3 * 256
