"""Tiny models of every architecture, built and loaded once per session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.testing import tiny

Make = Callable[..., LoadedModel]


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("tiny")

    def folder(architecture: str) -> Path:
        path = root / architecture
        if not path.exists():
            tiny.build(path, architecture)
            tiny.build_adapter(path, root / f"{architecture}-adapter")
        return path

    return folder


@pytest.fixture(scope="session")
def make(folders) -> Make:
    cache: dict[tuple[str, bool], LoadedModel] = {}

    def get(architecture: str = "llama", adapter: bool = False) -> LoadedModel:
        if (architecture, adapter) not in cache:
            base = folders(architecture)
            extra = base.with_name(f"{architecture}-adapter") if adapter else None
            cache[architecture, adapter] = load(base, adapter=extra)
        return cache[architecture, adapter]

    return get


@pytest.fixture(
    scope="session",
    params=[(a, lora) for a in tiny.ARCHITECTURES for lora in (False, True)],
    ids=lambda p: f"{p[0]}{'-lora' if p[1] else ''}",
)
def loaded(request: pytest.FixtureRequest, make: Make) -> LoadedModel:
    return make(*request.param)


@pytest.fixture(scope="session")
def chats() -> list[list[dict[str, str]]]:
    """Conversations of very different lengths, so that padding matters."""
    texts = ["Hi", "How do I mend a net?", "Show me the lamp. " * 5, "x", "tide " * 20]
    single = [[{"role": "user", "content": text}] for text in texts]
    several = [
        {"role": "user", "content": "The ferry leaves when?"},
        {"role": "assistant", "content": "When the tide is high."},
        {"role": "user", "content": "And then?"},
    ]
    return [*single, several]
