"""What transformers 4.55 to 5 call by different names; nothing else asks for its version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from holdfast.core.errors import UsageError


def _release() -> tuple[int, int]:
    major, minor = transformers.__version__.split(".")[:2]
    return int(major), int(minor)


RELEASE = _release()
"""Major and minor version of transformers."""


def precision(dtype: str | torch.dtype) -> dict[str, Any]:
    """The argument that loads weights in `dtype`: 4.56 gave it a new name."""
    return {"dtype" if RELEASE >= (4, 56) else "torch_dtype": dtype}


def check_positions(folder: Path) -> None:
    """Refuse a checkpoint whose rotary settings this transformers would replace by defaults.

    From version 5 on, config.json keeps them under `rope_parameters`. Version 4 reads `rope_theta`
    and `rope_scaling`, finds neither, and goes on with 10 000 and no scaling: another model,
    without a word.

    Raises:
        UsageError: transformers 4, and settings that are not those defaults.
    """
    if RELEASE >= (5, 0):
        return
    config = json.loads((folder / "config.json").read_text("utf-8"))
    settings = config.get("rope_parameters")
    if not isinstance(settings, dict) or "rope_theta" in config:
        return
    if settings.get("rope_type", "default") == "default" and settings.get("rope_theta") == 10000:
        return
    raise UsageError(
        f"{folder} was saved by transformers 5, whose rotary settings version "
        f"{transformers.__version__} does not read",
        got=f"rope_parameters {str(settings)[:80]}",
        next_step="save it again with transformers 4, or use transformers 5",
    )
