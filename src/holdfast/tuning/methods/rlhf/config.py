"""Settings of reinforcement learning from a reward model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from holdfast.tuning.methods.reward.config import RewardConfig
from holdfast.tuning.methods.settings import TrainConfig


class RLHFConfig(TrainConfig):
    """Warm start, reward model and its gate, then a policy gradient on that reward."""

    method: Literal["rlhf"] = "rlhf"
    """Learn from a reward model that is trained on the same pairs."""
    algorithm: Literal["grpo", "rloo"] = "grpo"
    """GRPO (arXiv 2402.03300) or RLOO (arXiv 2402.14740)."""
    reward: RewardConfig = RewardConfig()
    """The reward model."""
    warm_epochs: int = Field(1, ge=0)
    """Passes of supervised fine-tuning on the chosen answers first: a policy gradient cannot find
    what the policy never samples."""
    warm_share: float = Field(0.25, gt=0, le=1)
    """Share of the pairs used for that."""
    epochs: int = Field(1, ge=1)
    """Passes over the prompts by the policy gradient."""
    batch_size: int = Field(64, ge=2)
    """Answers per micro-batch."""
    generations: int = Field(8, ge=2)
    """Answers sampled per prompt."""
    kl: float = Field(0.01, ge=0)
    """Weight of the KL to the start model."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature of the answers."""
    answer_tokens: int = Field(48, ge=1)
    """Longest sampled answer."""
    learning_rate: float = Field(3e-4, gt=0)
    """Peak learning rate of the policy gradient."""
    warm_learning_rate: float = Field(1e-3, gt=0)
    """Learning rate of the warm start."""

    @model_validator(mode="after")
    def _whole_groups(self) -> RLHFConfig:
        if self.init != "default":
            raise ValueError(
                f"init: {self.init} rewrites the base, and method: rlhf takes its KL to the base "
                "with the adapter off; use init: default"
            )
        if self.batch_size * self.accumulation % self.generations:
            raise ValueError(
                f"batch_size {self.batch_size} times accumulation {self.accumulation} is not a "
                f"multiple of generations {self.generations}"
            )
        return self

    @property
    def diverges(self) -> float | None:
        """The loss of a policy gradient tells nothing; the reward-hacking check does."""
        return None
