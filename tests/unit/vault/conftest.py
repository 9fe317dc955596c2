"""Small valid models and adapters, and a vault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from holdfast.core.records import Outcome, Verdict
from holdfast.vault.store import Vault

Build = Callable[..., Path]


@pytest.fixture
def model(tmp_path: Path) -> Build:
    """model(name, value=0.0): a folder with config, tokenizer and two tensors filled with value."""

    def build(name: str = "model", value: float = 0.0) -> Path:
        folder = tmp_path / "sources" / name
        folder.mkdir(parents=True)
        tensors = {
            "a.weight": np.full((4, 3), value, dtype=np.float32),
            "b.weight": np.arange(6, dtype=np.float16).reshape(2, 3),
        }
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text('{"model_type": "llama"}')
        (folder / "tokenizer.json").write_text("{}")
        (folder / "README.md").write_text("# About")
        return folder

    return build


@pytest.fixture
def adapter(tmp_path: Path) -> Build:
    """adapter(name, value=0.0): a folder with a PEFT adapter."""

    def build(name: str = "adapter", value: float = 0.0) -> Path:
        folder = tmp_path / "sources" / name
        folder.mkdir(parents=True)
        save_file(
            {"lora_A": np.full((2, 3), value, np.float32)}, folder / "adapter_model.safetensors"
        )
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
        return folder

    return build


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "vault")


@pytest.fixture
def verdict() -> Callable[..., Verdict]:
    """verdict(base, candidate, outcome=PASS)."""

    def build(base: str, candidate: str, outcome: Outcome = Outcome.PASS) -> Verdict:
        return Verdict(
            outcome=outcome, base=base, candidate=candidate, policy="p" * 64,
            threat="accidental", findings=(), comparisons=(),
        )  # fmt: skip

    return build
