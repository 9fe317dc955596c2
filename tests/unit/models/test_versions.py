"""What transformers 4 would silently read wrongly is refused there."""

from __future__ import annotations

import json

import pytest
import torch

from holdfast.core.errors import UsageError
from holdfast.models import versions


@pytest.mark.parametrize(("release", "name"), [((4, 55), "torch_dtype"), ((4, 56), "dtype"),
                                               ((5, 23), "dtype")])  # fmt: skip
def test_the_name_of_the_precision(monkeypatch, release, name):
    monkeypatch.setattr(versions, "RELEASE", release)
    assert versions.precision(torch.float32) == {name: torch.float32}


@pytest.mark.parametrize(
    ("config", "refused"),
    [
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}, True),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 10000.0}}, True),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}, False),
        ({"rope_parameters": {"rope_theta": 500000.0}, "rope_theta": 500000.0}, False),
        ({"rope_theta": 500000.0}, False),
        ({}, False),
    ],
)
def test_rotary_settings_of_version_five(monkeypatch, tmp_path, config, refused):
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    monkeypatch.setattr(versions, "RELEASE", (5, 0))
    versions.check_positions(tmp_path)
    monkeypatch.setattr(versions, "RELEASE", (4, 57))
    if not refused:
        versions.check_positions(tmp_path)
        return
    with pytest.raises(UsageError, match="rotary"):
        versions.check_positions(tmp_path)
