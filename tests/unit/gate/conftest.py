"""Small arms, written as completions files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gate_rows import ACCEPTED, Rows, Write

from holdfast.gate.policy import Policy


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(name: str, content: Rows) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in content), "utf-8")
        return path

    return _write


@pytest.fixture
def harm_policy() -> Policy:
    return Policy.model_validate(
        {"metrics": {"harmful_compliance": {"margin": 0.05}}, "unaudited": ACCEPTED}
    )
