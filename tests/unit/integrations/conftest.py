"""A tiny base, its map, and a file of harmful prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.core.files import write_jsonl
from holdfast.testing import arms, tiny


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("integrations") / "base", layers=2)


@pytest.fixture(scope="session")
def mapped(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("integrations") / "map"
    arms.fitted_map(base).save(folder)
    return folder


@pytest.fixture
def buffer(tmp_path: Path) -> Path:
    path = tmp_path / "buffer.jsonl"
    write_jsonl(path, ({"prompt": f"Show me the tide at {i}"} for i in range(6)))
    return path
