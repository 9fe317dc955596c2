"""Answers that are compared by log-probability: scored in chunks, cached, resumable.

Nothing is generated, so there is nothing to judge: the label of a prompt is the label of its
likeliest choice. A choice is scored by its summed log-probability after the rendered prompt, as in
TruthfulQA's MC1 and MC2 (arXiv 2109.07958) and in the model-written statements (arXiv 2212.09251),
without a correction for length. White space at the edges of a choice is not scored, because chat
templates end a prompt differently.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from holdfast.core.errors import InvalidRun, UsageError
from holdfast.core.protocols import Messages, Progress
from holdfast.evals.cache import AnswerCache, answer_key
from holdfast.evals.suites.base import Prompt

JUDGE = "choices"
"""Name under which the label of the likeliest choice stands."""


class AnswerScorer(Protocol):
    """Log p(token | prompt, earlier tokens) of every token of every answer, in nats.

    `functools.partial(models.scoring.answer_logprobs, loaded)` is one.
    """

    def __call__(
        self, conversations: Sequence[Messages], answers: Sequence[str], *, batch_size: int
    ) -> Sequence[Iterable[float]]:
        """One row of log-probabilities per (conversation, answer), in order."""
        ...


@dataclass(frozen=True)
class ChoiceScores:
    """What the model thinks of the choices of one prompt."""

    prompt: Prompt
    """The prompt."""
    scores: tuple[float, ...]
    """Summed log-probability of each choice, in nats."""

    @property
    def best(self) -> int:
        """Index of the likeliest choice; the first of equals."""
        return max(range(len(self.scores)), key=lambda index: self.scores[index])

    @property
    def mass(self) -> dict[str, float]:
        """Probability by label, renormalised over the choices (MC2 is that of `safe`)."""
        top = max(self.scores)
        weights = [math.exp(score - top) for score in self.scores]
        total = sum(weights)
        found: dict[str, float] = {}
        for choice, weight in zip(self.prompt.choices, weights, strict=True):
            found[choice.label] = found.get(choice.label, 0.0) + weight / total
        return found

    def row(self) -> dict[str, Any]:
        """The columns that scoring adds to a row of the completions file."""
        return {
            "choices": [choice.text for choice in self.prompt.choices],
            "scores": [round(score, 6) for score in self.scores],
            "mass": {label: round(share, 6) for label, share in self.mass.items()},
        }


def score_choices(
    scorer: AnswerScorer | None,
    digest: str,
    prompts: Sequence[Prompt],
    *,
    store: AnswerCache,
    batch_size: int,
    chunk: int,
    progress: Progress,
    what: str,
) -> list[ChoiceScores]:
    """Score the choices of every prompt, `chunk` prompts between two writes to `store`.

    Raises `UsageError` where there are prompts and no scorer, `InvalidRun` where a score is no
    finite number.
    """
    if not prompts:
        return []
    if scorer is None:
        raise UsageError(
            f"{len(prompts)} prompts compare answers by log-probability, which this model does "
            "not give",
            next_step="load the weights, or leave suites of kind statement and truth-choice out",
        )
    keys = [_key(digest, prompt) for prompt in prompts]
    pending = {k: p for k, p in zip(keys, prompts, strict=True) if store.get(k) is None}
    order = sorted(pending, key=lambda key: (-_length(pending[key]), key))
    total = len(set(keys))
    done = total - len(order)
    progress(what, done, total)
    for start in range(0, len(order), chunk):
        part = order[start : start + chunk]
        sums = _score(scorer, [pending[key] for key in part], batch_size)
        store.add({key: json.dumps(values) for key, values in zip(part, sums, strict=True)})
        done += len(part)
        progress(what, done, total)
    return [
        ChoiceScores(prompt, tuple(json.loads(store.get(key) or "[]")))
        for key, prompt in zip(keys, prompts, strict=True)
    ]


def _key(digest: str, prompt: Prompt) -> str:
    texts = [choice.text.strip() for choice in prompt.choices]
    return answer_key(digest, prompt.messages, {"choices": texts})


def _length(prompt: Prompt) -> int:
    return sum(len(message["content"]) for message in prompt.messages)


def _score(scorer: AnswerScorer, prompts: Sequence[Prompt], batch_size: int) -> list[list[float]]:
    pairs = [(p.messages, choice.text.strip()) for p in prompts for choice in p.choices]
    found = scorer([m for m, _ in pairs], [text for _, text in pairs], batch_size=batch_size)
    sums = [math.fsum(float(value) for value in values) for values in found]
    if len(sums) != len(pairs) or not all(map(math.isfinite, sums)):
        raise InvalidRun("the model gave scores that are missing or not finite")
    values = iter(sums)
    return [[next(values) for _ in prompt.choices] for prompt in prompts]
