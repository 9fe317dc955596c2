"""One tiny random base, a few rows and prompts, and arms trained on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.testing import tiny
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.tuning.methods.spec import ArmSpec
from holdfast.tuning.monitor import Monitor
from holdfast.tuning.protections.replay_kl.config import ReplayKLConfig
from holdfast.tuning.protections.replay_kl.protection import ReplayKL

PROMPTS = [[{"role": "user", "content": f"Show me the tide at {i}"}] for i in range(6)]
OPENINGS = {"refusal": ["I cannot", "Not that"], "compliance": ["Sure", "Here is"]}
ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"How is net {i} mended?"},
            {"role": "assistant", "content": f"Sure, net {i % 7} first."},
        ]
    }
    for i in range(24)
]


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("tuning") / "base", layers=2)


@pytest.fixture
def loaded(base: Path) -> LoadedModel:
    return load(base)


@pytest.fixture
def monitor() -> Monitor:
    return Monitor(PROMPTS, OPENINGS)


@pytest.fixture
def replay() -> ReplayKL:
    return ReplayKL(ReplayKLConfig(share=0.25, every=1, answer_tokens=6), PROMPTS)


@pytest.fixture
def arm(base: Path, tmp_path: Path) -> Callable[..., ArmSpec]:
    def build(
        name: str = "plain", *, settings: dict[str, Any] | None = None, **more: Any
    ) -> ArmSpec:
        config = {"epochs": 3, "batch_size": 8, "dropout": 0.2, "device": "cpu", "seed": 3}
        made = SFTConfig(**{**config, **(settings or {})})
        return ArmSpec(
            name=name, base=base, rows=more.pop("rows", ROWS),
            out=more.pop("out", tmp_path / name), config=made, **more,
        )  # fmt: skip

    return build
