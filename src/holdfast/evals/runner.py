"""Run a frozen prompt plan on one arm: batched, cached, resumable; answers come with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.core.errors import InvalidRun, UsageError
from holdfast.core.files import write_jsonl
from holdfast.core.labels import UNSAFE
from holdfast.core.protocols import Generator, Judge, Messages, Progress, no_progress
from holdfast.evals.cache import AnswerCache, answer_key, check_identity
from holdfast.evals.judges import bind
from holdfast.evals.plan import PlannedSuite, PromptPlan
from holdfast.evals.suites.base import Prompt

CHUNK_BATCHES = 4
"""Batches between two writes to the cache: what a kill -9 can lose."""


@dataclass
class _Talk:
    """One prompt on its way: the conversation so far and the answers to it."""

    suite: PlannedSuite
    prompt: Prompt
    judges: Mapping[str, Judge]
    first: str
    """Name of the judge that decides on a ladder."""
    messages: Messages
    answers: list[str] = field(default_factory=list)
    labels: list[dict[str, str]] = field(default_factory=list)

    @property
    def is_ladder(self) -> bool:
        return self.suite.kind == "ladder"

    @property
    def complied(self) -> bool:
        return self.labels[-1][self.first] == UNSAFE

    def take(self, answer: str) -> None:
        """Note an answer with its labels."""
        self.answers.append(answer)
        self.labels.append({n: j.label(self.messages, answer) for n, j in self.judges.items()})

    def climb(self) -> bool:
        """Put the next question of the ladder, if the last answer did not comply."""
        step = len(self.answers) - 1
        if not self.is_ladder or self.complied or step >= len(self.prompt.followups):
            return False
        self.messages = [
            *self.messages,
            {"role": "assistant", "content": self.answers[-1]},
            {"role": "user", "content": self.prompt.followups[step]},
        ]
        return True

    def row(self, model: str, arm: str) -> dict[str, Any]:
        """The row of the completions file."""
        labels = dict(self.labels[-1])
        row: dict[str, Any] = {
            "prompt_id": self.prompt.prompt_id, "prompt": self.prompt.messages[-1]["content"],
            "messages": list(self.prompt.messages), "response": self.answers[-1], "sample": 0,
            "suite": self.suite.name, "kind": self.suite.kind, "category": self.prompt.category,
            "model": model, "arm": arm, "labels": labels,
        }  # fmt: skip
        if self.prompt.pair_id is not None:
            row["pair_id"] = self.prompt.pair_id
        if self.prompt.reference is not None:
            row["reference"] = self.prompt.reference
        if self.is_ladder:
            for name in labels:
                if any(turn[name] == UNSAFE for turn in self.labels):
                    labels[name] = UNSAFE
            row["turn"] = len(self.answers) if self.complied else None
            row["turns"] = self.answers
        return row


def run(
    generator: Generator,
    plan: PromptPlan,
    judges: Mapping[str, Judge],
    *,
    out: Path,
    cache: Path,
    arm: str,
    max_new_tokens: int = 256,
    batch_size: int = 16,
    temperature: float = 0.0,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Path:
    """Answer every prompt of `plan`, label the answers, write the completions file `out`.

    Finished chunks of `CHUNK_BATCHES` batches go to `cache` at once, so that a killed run
    continues where it stopped and no answer of these weights is generated twice; `out` is
    written atomically at the end, in the plan's order. A ladder is asked on after each answer
    that did not comply (by the suite's own judge if it is among `judges`, else the first) and
    stops at the first compliance. The answers in the cache do not depend on `batch_size`.
    """
    check_identity(generator.digest)
    if not judges:
        raise UsageError("an evaluation needs at least one judge", next_step="add --judge rules")
    if max_new_tokens < 1 or batch_size < 1:
        raise UsageError("max_new_tokens and batch_size", expected="at least 1")
    talks = [talk for suite in plan.suites for talk in _talks(suite, judges)]
    parameters: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    if temperature > 0:
        parameters["seed"] = seed
    with AnswerCache(cache) as store:
        asker = _Asker(generator, store, parameters, batch_size, seed, progress)
        active, turn = talks, 1
        while active:
            name = f"evaluate {arm}" if turn == 1 else f"evaluate {arm}, ladder turn {turn}"
            answers = asker.ask([talk.messages for talk in active], name)
            for talk, answer in zip(active, answers, strict=True):
                talk.take(answer)
            active = [talk for talk in active if talk.climb()]
            turn += 1
    write_jsonl(out, (talk.row(generator.digest, arm) for talk in talks))
    return out


def _talks(suite: PlannedSuite, judges: Mapping[str, Judge]) -> list[_Talk]:
    bound = {name: bind(judge, suite) for name, judge in judges.items()}
    first = suite.judge if suite.judge in bound else next(iter(bound))
    return [_Talk(suite, prompt, bound, first, list(prompt.messages)) for prompt in suite.prompts]


@dataclass
class _Asker:
    """Answers conversations from the cache first, then from the model."""

    generator: Generator
    store: AnswerCache
    parameters: dict[str, Any]
    batch_size: int
    seed: int
    progress: Progress

    def ask(self, conversations: Sequence[Messages], what: str) -> list[str]:
        """One answer per conversation, in order."""
        keys = [answer_key(self.generator.digest, c, self.parameters) for c in conversations]
        pending: dict[str, Messages] = {
            key: messages
            for key, messages in zip(keys, conversations, strict=True)
            if self.store.get(key) is None
        }
        # Neighbours of like length waste the least padding; the longest first shows at once
        # whether the batch fits into memory. The key breaks ties, for the same order each time.
        order = sorted(pending, key=lambda key: (-_length(pending[key]), key))
        total = len(set(keys))
        done = total - len(order)
        self.progress(what, done, total)
        size = self.batch_size * CHUNK_BATCHES
        for start in range(0, len(order), size):
            chunk = order[start : start + size]
            self.store.add(self._generate(chunk, pending))
            done += len(chunk)
            self.progress(what, done, total)
        answers = [self.store.get(key) for key in keys]
        return [answer for answer in answers if answer is not None]

    def _generate(self, keys: list[str], pending: Mapping[str, Messages]) -> dict[str, str]:
        answers = self.generator.generate(
            [pending[key] for key in keys], max_new_tokens=self.parameters["max_new_tokens"],
            batch_size=self.batch_size, temperature=self.parameters["temperature"], seed=self.seed,
        )  # fmt: skip
        if len(answers) != len(keys):
            raise InvalidRun(
                "the model gave another number of answers than it was asked for",
                got=str(len(answers)),
                expected=str(len(keys)),
            )
        return dict(zip(keys, answers, strict=True))


def _length(messages: Messages) -> int:
    return sum(len(message["content"]) for message in messages)
