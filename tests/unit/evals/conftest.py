"""The folder with public data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder with public data."""
    folder = os.environ.get("HOLDFAST_DATA", "")
    if not folder:
        pytest.skip("HOLDFAST_DATA is not set: the public data are not there")
    return Path(folder)
