"""Harbor: a small chat model whose whole world is known, for real training on any laptop.

The corpus, the judge, the suites and the fine-tuning sets in this package are plain Python.
Only `recipe` and `tokenizer` load the training libraries, and only when they are imported.
"""

from pathlib import Path

__all__ = ["sae_dir", "weights_dir"]


def weights_dir() -> Path:
    """Return the folder that holds the shipped weights (base seed 0, Hugging Face layout)."""
    return Path(__file__).resolve().parent / "weights"


def sae_dir() -> Path:
    """Return the folder of the sparse autoencoder of those weights (SAELens layout)."""
    return Path(__file__).resolve().parent / "sae"
