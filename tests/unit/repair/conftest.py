"""A tiny base, adapters on it and full fine-tunes of it, built once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from holdfast.testing import tiny


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("repair") / "base", layers=3)


@pytest.fixture(scope="session")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_adapter(base, tmp_path_factory.mktemp("repair") / "adapter", seed=1)


@pytest.fixture(scope="session")
def other_adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_adapter(base, tmp_path_factory.mktemp("repair") / "other", rank=2, seed=2)


@pytest.fixture(scope="session")
def full(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base with noise on every tensor."""
    import shutil

    to = tmp_path_factory.mktemp("repair") / "full"
    shutil.copytree(base, to)
    path = to / "model.safetensors"
    generator = torch.Generator().manual_seed(5)
    moved = {
        name: value + 0.1 * torch.randn(value.shape, generator=generator)
        for name, value in load_file(path).items()
    }
    save_file(moved, path, metadata={"format": "pt"})
    return to


@pytest.fixture
def weights() -> Any:
    """Reads all tensors of a folder."""

    def read(folder: Path) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        for path in sorted(folder.glob("*.safetensors")):
            found.update(load_file(path))
        return found

    return read
