"""TRL's trainers that learn from answers they sample: GRPO and RLOO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from holdfast.core.protocols import Messages
from holdfast.core.seeds import derive
from holdfast.tuning.hf.trainer import made

Score = Callable[[Sequence[Messages], Sequence[str]], list[float]]
"""Rewards of answers to conversations."""


def rollout_trainer(
    algorithm: str,
    model: Any,
    tokenizer: Any,
    prompts: list[dict[str, Any]],
    *,
    score: Score,
    render: Callable[[Messages], list[int]],
    settings: dict[str, Any],
    callback: Any,
    arguments: dict[str, Any],
) -> Any:
    """A GRPOTrainer or RLOOTrainer that renders prompts as evaluation does.

    Args:
        algorithm: `grpo` or `rloo`.
        model: policy, a model or PEFT model; with the adapter off, or loaded again from its folder,
            it is the reference of the KL.
        tokenizer: its tokenizer.
        prompts: rows {"prompt": conversation}.
        score: the reward.
        render: token ids of a conversation with the generation prompt.
        settings: number of generations, KL weight, temperature, answer length.
        callback: the `HoldfastCallback` of the run.
        arguments: `trainer.shared_arguments`.
    """
    import trl

    kind: Any = trl.GRPOTrainer if algorithm == "grpo" else trl.RLOOTrainer
    config_kind: Any = trl.GRPOConfig if algorithm == "grpo" else trl.RLOOConfig

    class Rendered(kind):  # type: ignore[misc]  # TRL is untyped here
        def _tokenize_prompts(self, prompts: list[Messages]) -> tuple[list[list[int]], None, Any]:
            return [render(prompt) for prompt in prompts], None, {}

        def _get_train_sampler(self, dataset: Any = None) -> Any:
            """Order prompts by seed and epoch: TRL's order goes on where a process began."""
            sampler = super()._get_train_sampler(dataset)
            seed = self.args.seed
            sampler.set_epoch = lambda epoch: sampler.generator.manual_seed(
                derive(seed, "prompts", epoch)
            )
            return sampler

    def reward(prompts: Any, completions: Any, **_: Any) -> list[float]:
        return score(prompts, [completion[0]["content"] for completion in completions])

    tokenizer.padding_side = "left"
    config = config_kind(remove_unused_columns=False, log_completions=False,
                         **settings, **arguments)  # fmt: skip
    return made(Rendered, model, tokenizer, prompts, config, callback, reward_funcs=reward)
