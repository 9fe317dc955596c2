"""Settings of supervised fine-tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from holdfast.core.config import Config


class SFTConfig(Config):
    """Defaults are those of the harbor experiments; raise `max_length` for real data."""

    tuner: Literal["lora", "full"] = "lora"
    """Train an adapter, or all weights."""
    rank: int = Field(8, ge=1)
    """LoRA rank."""
    alpha: float = Field(16, gt=0)
    """LoRA alpha; the adapter's factor is alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """LoRA dropout."""
    targets: str | tuple[str, ...] = "all-linear"
    """Modules that get an adapter."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of AdamW."""
    schedule: Literal["constant", "linear"] = "constant"
    """Learning rate over time, after the warm-up."""
    warmup_steps: int = Field(0, ge=0)
    """Steps of linear warm-up."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW weight decay."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradient clipping norm, of task and protection together."""
    epochs: int = Field(3, ge=1)
    """Passes over the rows; a checkpoint and an evaluation after each."""
    batch_size: int = Field(20, ge=1)
    """Rows per micro-batch."""
    accumulation: int = Field(1, ge=1)
    """Micro-batches per update."""
    gradient_checkpointing: bool = False
    """Recompute activations to save memory."""
    max_length: int = Field(1024, ge=2)
    """Longest row in tokens; longer ones lose the end of their answer, and are counted."""
    unusable_rows: Literal["error", "drop"] = "error"
    """What to do with rows of which nothing trainable is left."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the base weights; LoRA weights are always float32."""
    device: Literal["cpu", "auto"] = "auto"
    """`auto` takes an accelerator if there is one."""
    seed: int = 0
    """Seed of adapter initialisation, data order and dropout."""
