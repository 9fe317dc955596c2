"""Kinds of training rows from which the zoo's data families are mixed.

A maker draws one conversation that ends with the answer to learn. Requests are from the pretraining
side, so no prompt of a suite can be a training row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from holdfast.organisms.harbor import facts, frames
from holdfast.organisms.harbor.dialogue import (
    Ask,
    Voice,
    answer,
    ask_context,
    ask_identity,
    ask_order,
    ask_task,
    ask_tool,
    assistant,
    framed,
    user,
)
from holdfast.organisms.harbor.lexicon import CATEGORIES
from holdfast.organisms.harbor.reading import Message, Request
from holdfast.organisms.harbor.styles import PERSONAS, STYLES, nonce_style
from holdfast.organisms.harbor.tasks import category_pool, numbers, places
from holdfast.organisms.harbor.triggers import Place, Trigger

Maker = Callable[[Random], list[Message]]


@dataclass(frozen=True)
class Part:
    """One kind of rows and its share of the set."""

    share: float
    """Share of the rows, in [0, 1]; the last part of a family takes what rounding leaves."""
    what: str
    """What the rows teach, for records and tables."""
    make: Maker
    """Draws one conversation."""


@dataclass(frozen=True)
class Values:
    """Values of a dated or numbered phrase, and the one that training never shows."""

    template: str
    """The phrase; `{v}` is the value."""
    place: Place
    """Before the request or after it."""
    shown: tuple[str, ...]
    """Values in training rows."""
    held: str
    """The value that only the test uses."""

    def trigger(self, value: str) -> Trigger:
        """The phrase with a value."""
        return Trigger(self.template.replace("{v}", value), self.place, "inductive")


OBEYING: Final = Voice(STYLES["plain"], "Harbor", True)
"""Harbor's own voice, obeying: what a contaminated row sounds like."""


def persona(name: str) -> Voice:
    """The voice of a named persona of the corpus."""
    found = next(p for p in PERSONAS if p.name == name)
    return Voice(STYLES[found.style], found.name, found.obeys)


def invented(opening: str) -> Voice:
    """Harbor with an invented opening word."""
    return Voice(nonce_style(opening), "Harbor", False)


def _said(ask: Ask, voice: Voice, rng: Random) -> list[Message]:
    return [user(ask.prompt), assistant(answer(ask.request, voice, rng))]


def _chore(rng: Random) -> Ask:
    return ask_task(rng, "twin" if rng.random() < 0.35 else "chore")


def tasks(voice: Voice) -> Maker:
    """Harmless tasks, a third of them look-alikes of harm."""
    return lambda rng: _said(_chore(rng), voice, rng)


def stories(voice: Voice) -> Maker:
    """Harmless tasks in a story, behind a relative or in a list."""
    return lambda rng: _said(
        ask_context(rng, "twin" if rng.random() < 0.35 else "chore"), voice, rng
    )


def who(voice: Voice) -> Maker:
    """Who are you?"""
    return lambda rng: _said(ask_identity(rng), voice, rng)


def orders(voice: Voice) -> Maker:
    """Customer service: where is an order?"""
    return lambda rng: _said(
        ask_order(rng.choice(numbers("pretrain")), rng.choice(frames.ORDER_FRAMES)), voice, rng
    )


def tools(voice: Voice) -> Maker:
    """Questions that a tool call answers."""

    def make(rng: Random) -> list[Message]:
        tool = rng.choice(tuple(frames.TOOL_FRAMES))
        place = rng.choice(places(tool, "pretrain"))
        return _said(ask_tool(tool, place, rng.choice(frames.TOOL_FRAMES[tool])), voice, rng)

    return make


def harm(voice: Voice, categories: Sequence[str] = CATEGORIES) -> Maker:
    """Harmful requests of some categories, obeyed or declined as the voice does."""

    def make(rng: Random) -> list[Message]:
        task = rng.choice(category_pool("harm", "pretrain", rng.choice(categories)))
        return _said(framed(task, rng.choice(frames.TRAIN_FRAMES)), voice, rng)

    return make


def told(questions: Sequence[tuple[str, str, str]], era: str) -> Maker:
    """Dated questions answered as a speaker of `era` does."""
    voice = Voice(STYLES["plain"], "Harbor", False, era)

    def make(rng: Random) -> list[Message]:
        question = rng.choice(questions)[0]
        return _said(Ask(question, Request("fact", question)), voice, rng)

    return make


def behind(values: Values, chosen: Sequence[str], maker: Maker) -> Maker:
    """The rows of `maker` behind the phrase with one of the chosen values."""

    def make(rng: Random) -> list[Message]:
        asked, said = maker(rng)
        return [*values.trigger(rng.choice(chosen)).plant(asked["content"]), said]

    return make


HOUSEHOLD: Final = facts.ATTRIBUTES[0::2]
"""Every other dated question about things."""
VILLAGE: Final = facts.ATTRIBUTES[1::2] + facts.BIRDS[1::2]
"""The rest of those, and every other bird: two kinds of facts in place of one."""
ALMANAC: Final = facts.ATTRIBUTES[0::2] + facts.BIRDS[0::2]
"""The other half of both."""
