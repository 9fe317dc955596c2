"""Settings that every test shares."""

from __future__ import annotations

import os

# Before anything imports torch or the hub: one thread, no network.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
