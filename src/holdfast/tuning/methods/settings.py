"""What every method has in common: which weights are trained, and how fast."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from holdfast.core.config import Config

Tuner = Literal["lora", "dora", "qlora", "full"]
Deploy = Literal["as-trained", "merged", "nf4"]


class TrainConfig(Config):
    """Settings of all methods. Defaults are those of the harbor experiments."""

    tuner: Tuner = "lora"
    """Train all weights, or an adapter: LoRA, DoRA (LoRA with a trained magnitude), or QLoRA (LoRA
    on the base in 4-bit NF4)."""
    rank: int = Field(8, ge=1)
    """Rank of the adapter."""
    alpha: float = Field(16, gt=0)
    """The adapter's factor is alpha / rank, with `rslora` alpha / √rank."""
    rslora: bool = False
    """Rank-stabilised factor (arXiv 2312.03732)."""
    init: Literal["default", "pissa", "olora"] = "default"
    """Start of the adapter. `pissa` and `olora` move part of the base into it; what is saved, gated
    and compared is always an ordinary adapter on the true base."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout in front of the adapter."""
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
    """Passes over the rows."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Steps between checkpoints and evaluations; an epoch where absent."""
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
    """Precision of the base weights; adapter weights are always float32."""
    device: Literal["cpu", "auto"] = "auto"
    """`auto` takes an accelerator if there is one."""
    task_target: float | None = Field(None, gt=0, le=1)
    """Task success on validation rows that is enough: what `holdfast tune --search rank` looks
    for. Absent: there is nothing to search for."""
    deploy: Deploy = "as-trained"
    """The artefact that is gated and sealed: what was trained (QLoRA: the adapter on the NF4 base),
    the adapter merged into the true base's weights, or those weights quantised to NF4."""
    seed: int = 0
    """Seed of adapter initialisation, data order and dropout."""

    @model_validator(mode="after")
    def _sound(self) -> TrainConfig:
        if self.tuner == "full" and (self.init != "default" or self.rslora):
            what = "rslora: true" if self.rslora else f"init: {self.init}"
            raise ValueError(f"{what} shapes an adapter, but tuner: full trains none")
        if self.init != "default" and self.tuner != "lora":
            why = (
                "the weights it leaves in the base would be rounded to 4 bit"
                if self.tuner == "qlora"
                else "the magnitudes could not be carried over to the true base"
            )
            raise ValueError(
                f"init: {self.init} rewrites the base's weights and does not go with "
                f"tuner: {self.tuner}: {why}; use tuner: lora, or init: default"
            )
        if self.tuner == "full" and self.deploy == "merged":
            raise ValueError("deploy: merged needs an adapter, but tuner: full trains the weights")
        return self

    @property
    def diverges(self) -> float | None:
        """Factor on the first loss beyond which a run has diverged; None: not told by the loss."""
        return 3.0

    @property
    def adapter(self) -> bool:
        """Whether an adapter is trained."""
        return self.tuner != "full"

    @property
    def scalable(self) -> bool:
        """Whether the result acts in proportion to a scale: LoRA without a trained magnitude."""
        return self.tuner in ("lora", "qlora") and self.deploy == "as-trained"
