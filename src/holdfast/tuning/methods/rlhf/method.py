"""Reinforcement learning from a reward model, each stage resumable, each before the next.

warm start     supervised fine-tuning on some of the chosen answers
reward model   trained on the pairs of most prompts
its gate       on the pairs of the others: a reward that fails it is never optimised
policy         GRPO or RLOO on the reward, watched for reward hacking
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from holdfast.core.digest import sha256_json
from holdfast.core.errors import DataError, UsageError
from holdfast.core.protocols import Messages, Progress
from holdfast.core.records import RewardGate
from holdfast.core.seeds import derive
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.tuning.hf import adapters, rollouts
from holdfast.tuning.methods import preferences
from holdfast.tuning.methods.reward.gate import Pool, measure, require
from holdfast.tuning.methods.reward.scorer import Scorer, load_scorer
from holdfast.tuning.methods.rlhf.config import RLHFConfig
from holdfast.tuning.methods.rlhf.hacking import HackingGuard
from holdfast.tuning.methods.settings import TrainConfig
from holdfast.tuning.methods.sft.config import sft_like
from holdfast.tuning.methods.spec import ArmSpec, Rows

LEAST = 20
"""Fewest held-out pairs that a gate can say anything about."""
POOLS = 60
"""Prompts of the hacking checks, at most."""
GATE = "reward_gate.json"
WARM_BATCH = 20
"""Rows of one update of the warm start."""


class RLHF:
    """Learn what a gated reward model prefers."""

    task = "CAUSAL_LM"

    def __init__(self, arm: ArmSpec, start: LoadedModel) -> None:
        if not isinstance(arm.config, RLHFConfig):
            raise UsageError("method rlhf", got=type(arm.config).__name__, expected="RLHFConfig")
        if arm.judge is None:
            raise UsageError(
                "method rlhf has no independent judge",
                expected="a judge of the task, against which reward hacking is seen",
                next_step="give the arm `judge`, or name a task judge in the plan",
            )
        self.arm, self.config, self.start = arm, arm.config, start
        self.judge = arm.judge
        self.train_pairs, self.held_pairs = self._split()
        self.scorer: Scorer | None = None

    @staticmethod
    def open(folder: Path, config: TrainConfig) -> LoadedModel:
        """The model that the policy starts from."""
        return load(folder, dtype=config.dtype, device=config.device)

    def rows(self, progress: Progress) -> Rows:
        """Warm start, reward model and gate; then the prompts, whole groups of them."""
        self._warm(progress)
        self.scorer = self._reward(progress)
        self._gate(self.scorer, progress)
        prompts = [{"prompt": preferences.checked(n, r)[0]} for n, r in self.train_pairs]
        whole = len(prompts) - len(prompts) % self.rows_per_update
        if not whole:
            raise DataError(
                "too few prompts for one update", got=str(len(prompts)),
                expected=f"at least {self.rows_per_update}",
                next_step="lower batch_size, or bring more pairs",
            )  # fmt: skip
        return Rows(prompts[:whole], dropped=len(prompts) - whole)

    @property
    def rows_per_update(self) -> int:
        """Prompts of one update: its answers over the answers to each."""
        config = self.config
        return config.batch_size * config.accumulation // config.generations

    def trainer(self, model: Any, rows: Rows, callback: Any, common: dict[str, Any]) -> Any:
        """TRL's GRPO or RLOO trainer from the warm start."""
        assert self.scorer is not None, "rows() comes first"
        config = self.config
        if config.warm_epochs:
            self._load_warm(model)
        built = rollouts.rollout_trainer(
            config.algorithm, model, self.start.tokenizer, rows.rows, score=self.scorer.score,
            render=self.start.render, callback=callback, arguments=common,
            settings={
                "num_generations": config.generations, "beta": config.kl,
                "temperature": config.temperature, "max_completion_length": config.answer_tokens,
            },
        )  # fmt: skip
        guard = HackingGuard(
            [p for p, *_ in self._held(POOLS)], self.scorer.score, self.judge,
            self.arm.out / "hacking.json", answer_tokens=config.answer_tokens,
        )  # fmt: skip
        built.add_callback(guard)
        return built

    def _split(self) -> tuple[list[tuple[int, dict[str, Any]]], list[tuple[int, dict[str, Any]]]]:
        """Pairs to train on and pairs of the gate; all pairs of one prompt lie on one side."""
        share, seed = self.config.reward.held_out, self.config.seed
        sides: tuple[list[Any], list[Any]] = ([], [])
        for number, row in enumerate(self.arm.rows, 1):
            prompt = preferences.checked(number, row)[0]
            held = derive(seed, "reward-held-out", sha256_json(prompt)) / 2**31 < share
            sides[held].append((number, row))
        if len(sides[1]) < LEAST or not sides[0]:
            raise DataError(
                f"{len(sides[1])} of {len(self.arm.rows)} pairs are held out for the reward gate",
                expected=f"at least {LEAST}, and some to train on",
                next_step="bring more pairs, or raise reward.held_out",
            )
        return sides

    def _held(self, most: int) -> list[tuple[Messages, str, str]]:
        return [preferences.checked(number, row) for number, row in self.held_pairs[:most]]

    def _warm(self, progress: Progress) -> None:
        """Supervised fine-tuning on the chosen answers of some pairs."""
        config = self.config
        if not config.warm_epochs:
            return
        from holdfast.tuning.methods.arm import train

        count = max(1, round(config.warm_share * len(self.train_pairs)))
        rows = []
        for number, row in self.train_pairs[:count]:
            prompt, chosen, _ = preferences.checked(number, row)
            rows.append({"messages": [*prompt, {"role": "assistant", "content": chosen}]})
        warm = sft_like(
            config, epochs=config.warm_epochs, learning_rate=config.warm_learning_rate,
            batch_size=min(WARM_BATCH, count), accumulation=1,
        )  # fmt: skip
        train(
            ArmSpec("warm start", self.arm.base, rows, self.arm.out / "warm", warm),
            progress=progress,
        )  # fmt: skip

    def _load_warm(self, model: Any) -> None:
        folder = max((self.arm.out / "warm" / "epochs").iterdir())
        if self.config.adapter:
            adapters.put_factors(model, load_file(folder / "adapter_model.safetensors"))
        else:
            for file in sorted(folder.glob("*.safetensors")):
                model.load_state_dict(load_file(file), strict=False)

    def _reward(self, progress: Progress) -> Scorer:
        from holdfast.tuning.methods.arm import start_folder, train

        config, out = self.config.reward, self.arm.out / "reward"
        rows = [row for _, row in self.train_pairs]
        config = config.model_copy(update={"seed": self.config.seed})
        record = train(ArmSpec("reward model", self.arm.base, rows, out, config), progress=progress)
        last = out / record.checkpoints[-1].path
        if config.adapter:
            return Scorer(load_scorer(start_folder(config, self.arm.base, out), config, last))
        return Scorer(load_scorer(last, config))

    def _gate(self, scorer: Scorer, progress: Progress) -> None:
        """Measure the reward model once; a failure is final until something changes."""
        path = self.arm.out / GATE
        if not path.is_file():
            progress("gate the reward model", 0, 0)
            held = self._held(len(self.held_pairs))
            prompts = [prompt for prompt, *_ in held]
            better = scorer.score(prompts, [chosen for _, chosen, _ in held])
            worse = scorer.score(prompts, [rejected for *_, rejected in held])
            margins = [a - b for a, b in zip(better, worse, strict=True)]
            inputs = {"pairs": sha256_json([row for _, row in self.held_pairs]),
                      "reward": scorer.loaded.digest}  # fmt: skip
            measure(
                margins, self._pools(scorer), self.judge, self.config.reward, inputs=inputs
            ).save(path)
        require(RewardGate.load(path))

    def _pools(self, scorer: Scorer) -> list[Pool]:
        """The policy's samples, both answers of the pair, and an answer to another prompt."""
        held, config = self._held(POOLS), self.config
        policy = self.start
        if config.warm_epochs:
            from holdfast.tuning.artefacts import open_result
            from holdfast.tuning.methods.arm import start_folder

            folder = max((self.arm.out / "warm" / "epochs").iterdir())
            start = start_folder(config, self.arm.base, self.arm.out)
            policy = open_result(folder, start, dtype=config.dtype, device=config.device)
        repeated = [prompt for prompt, *_ in held for _ in range(config.reward.candidates)]
        samples = policy.generate(
            repeated, max_new_tokens=config.answer_tokens, batch_size=64,
            temperature=config.temperature, seed=config.seed,
        )  # fmt: skip
        pools = []
        for place, (prompt, chosen, rejected) in enumerate(held):
            first = place * config.reward.candidates
            stranger = held[(place + 1) % len(held)][1]
            answers = [*samples[first : first + config.reward.candidates],
                       chosen, rejected, stranger]  # fmt: skip
            rewards = scorer.score([prompt] * len(answers), answers)
            pools.append(Pool(prompt, tuple(answers), tuple(rewards)))
        return pools
