"""TRL's trainers that learn from pairs of answers: DPO and the reward model."""

from __future__ import annotations

from typing import Any

from holdfast.tuning.hf.trainer import made


def dpo_trainer(
    model: Any,
    tokenizer: Any,
    rows: list[dict[str, Any]],
    *,
    beta: float,
    sft_weight: float,
    callback: Any,
    arguments: dict[str, Any],
) -> Any:
    """A DPOTrainer over ready-made ids with ready-made reference log-probabilities.

    Nothing is left for TRL to take a reference from: not a second model, and not the model with its
    adapter off, which is another model after PiSSA or OLoRA.
    """
    from trl import DPOConfig, DPOTrainer

    class Ready(DPOTrainer):  # type: ignore[misc]  # TRL is untyped here
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, dataset: Any, *_: Any) -> Any:
            return dataset

    config = DPOConfig(
        beta=beta, max_length=None, precompute_ref_log_probs=True,
        loss_type=["sigmoid", "sft"] if sft_weight else ["sigmoid"],
        loss_weights=[1.0, sft_weight] if sft_weight else [1.0],
        **arguments,
    )  # fmt: skip
    return made(Ready, model, tokenizer, rows, config, callback)


def reward_trainer(
    model: Any, tokenizer: Any, rows: list[dict[str, Any]], *, callback: Any,
    arguments: dict[str, Any],
) -> Any:  # fmt: skip
    """A RewardTrainer over ready-made `chosen_ids` and `rejected_ids`."""
    from trl import RewardConfig, RewardTrainer

    config = RewardConfig(max_length=None, **arguments)
    return made(RewardTrainer, model, tokenizer, rows, config, callback)
