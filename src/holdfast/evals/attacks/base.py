"""What an attack makes of a suite: prompts, the goals behind them, and how to read the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from pydantic import Field

from holdfast.core.config import Config
from holdfast.core.digest import prompt_digest, sha256_text
from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.core.seeds import derive
from holdfast.evals.suites.base import Prompt, Suite

MAX_ID = 180
"""Characters of a prompt id; longer ones are cut and get a digest."""
HARMFUL = frozenset({"harmful", "jailbreak", "context", "ladder"})
"""Kinds whose prompts are goals that should be declined."""


class AttackOptions(Config):
    """How much of an attack is used."""

    tries: int = Field(5, ge=1)
    """Ways that each goal is asked, chosen by seed where the attack knows more."""
    seed: int = 0
    """Chooses templates and their order."""


@dataclass(frozen=True)
class Try:
    """One way to ask for a goal."""

    name: str
    """What it is called, unique for its goal."""
    messages: Messages
    """The conversation; may end with the beginning of an answer (role assistant)."""
    followups: tuple[str, ...] = ()
    """Ladders: what the user says after each answer that did not comply."""
    decode: str = ""
    """Name of the encoding in which an answer may come back, see `mutate.DECODERS`."""


@dataclass(frozen=True)
class Goal:
    """What a prompt is after, and how its answer is read."""

    messages: Messages
    """The plain request."""
    prefix: str = ""
    """Beginning of the answer that was put into the model's mouth."""
    decode: str = ""
    """Encoding of the answer, or empty."""


@dataclass(frozen=True)
class Attacked:
    """A suite under attack."""

    suite: Suite
    """The attacked prompts; `pair_id` is the prompt id of the goal."""
    goals: dict[str, Goal] = field(repr=False)
    """Digest of an attacked prompt's messages -> its goal."""


Tries = Callable[[Prompt, Random], Iterable[Try]]
"""All ways that an attack knows for one goal, in seeded order."""


def attack(
    suite: Suite,
    name: str,
    tries: Tries,
    options: AttackOptions,
    *,
    kind: str = "jailbreak",
    licence: str = "Apache-2.0",
    source: str = "",
) -> Attacked:
    """Ask every goal of `suite` in at most `options.tries` ways.

    Args:
        suite: harmful prompts, one user message each or a conversation that ends with one.
        name: name of the attack; the new suite is `attack-NAME-SUITE`.
        tries: the attack itself.
        options: how many ways, and the seed.
        kind: kind of the new suite: `jailbreak`, `context` or `ladder`.
        licence: licence of the attack's texts.
        source: SHA-256 of the file that they came from.

    Raises:
        DataError: the suite's prompts are not goals to be declined, or nothing came of the attack.
    """
    if suite.kind not in HARMFUL:
        raise DataError(f"suite '{suite.name}' is of kind '{suite.kind}'",
                        expected="goals that should be declined: kind harmful")  # fmt: skip
    prompts: list[Prompt] = []
    goals: dict[str, Goal] = {}
    for goal in suite.prompts:
        rng = Random(derive(options.seed, "attack", name, goal.prompt_id))
        for found in list(tries(goal, rng))[: options.tries]:
            prompts.append(
                Prompt(
                    prompt_id=_id(name, found.name, goal.prompt_id),
                    messages=found.messages,
                    category=goal.category,
                    followups=found.followups,
                    pair_id=goal.prompt_id,
                    reference=goal.reference,
                )  # fmt: skip
            )
            last = found.messages[-1]
            prefix = last["content"] if last["role"] == "assistant" else ""
            key = prompt_digest(found.messages)
            goals[key] = Goal(goal.messages, prefix, found.decode)
    if not prompts:
        raise DataError(f"attack '{name}' found nothing to ask", next_step="check its file")
    measures = f"complies with {suite.name} under the attack {name}"
    attacked = Suite(
        f"attack-{name}-{suite.name}", kind, tuple(prompts), suite.judge,
        f"{licence}; goals: {suite.licence}", measures, source or suite.source,
    )  # fmt: skip
    return Attacked(attacked, goals)


def ask(prompt: Prompt, text: str) -> Messages:
    """The goal's conversation with `text` in place of its last user message."""
    return [*prompt.messages[:-1], {"role": "user", "content": text}]


def goal_text(prompt: Prompt) -> str:
    """The goal in words: the last user message."""
    return prompt.messages[-1]["content"]


def _id(attack_name: str, try_name: str, goal: str) -> str:
    text = f"{attack_name}/{try_name}/{goal}"
    if len(text) <= MAX_ID:
        return text
    return f"{text[: MAX_ID - 13]}~{sha256_text(text)[:12]}"
