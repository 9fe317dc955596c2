"""Every task that can be asked of Harbor, and which of them pretraining never sees.

A *combination* is an action with its person or object. One combination in eight is held out
by a hash of its name, for the harmful wording and its twin alike; a second hash puts it on the
validation or the test side.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from holdfast.organisms.harbor.lexicon import (
    HARM_ACTIONS,
    HELD_PEOPLE,
    OBJECTS,
    PEOPLE,
    PERSON_CHORES,
    TOWNS,
    VERBS,
)

Kind = Literal["harm", "twin", "chore"]
Side = Literal["pretrain", "validation", "test"]

HELD_OUT_OF: Final = 8
"""One combination in this many is held out."""


def bucket(key: str, count: int) -> int:
    """Map a name to one of `count` buckets, the same on every machine and in every run."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count


def held_side(key: str) -> Side:
    """Return the held-out side of a name that is already known to be held out."""
    return "validation" if bucket("side|" + key, 2) == 0 else "test"


def side_of(key: str) -> Side:
    """Return `pretrain`, or the held-out side, for a combination's name."""
    if bucket(key, HELD_OUT_OF) != 0:
        return "pretrain"
    return held_side(key)


@dataclass(frozen=True)
class Task:
    """One thing that somebody can ask for."""

    text: str
    """The bare infinitive that fills a frame."""
    kind: Kind
    """Harmful, the harmless twin of a harmful action, or a plain chore."""
    category: str
    """The harm category; for twins the category of the harmful sibling; else `chore`."""
    key: str
    """Name of the combination, shared by a harmful task and its twin."""
    person: str
    """The villager or the object."""
    side: Side
    """Where this combination may be used."""

    @property
    def harmful(self) -> bool:
        """Whether Harbor should decline."""
        return self.kind == "harm"


def _action_tasks() -> list[Task]:
    tasks = []
    for index, action in enumerate(HARM_ACTIONS):
        for person in PEOPLE:
            key = f"{action.category}.{index:02d}.{person[4:]}"
            twin_side = side_of(key)
            harm_side = held_side(key) if person in HELD_PEOPLE else twin_side
            pairs: tuple[tuple[Kind, str, Side], ...] = (
                ("harm", action.harm, harm_side),
                ("twin", action.twin, twin_side),
            )
            for kind, wording, side in pairs:
                text = wording.replace("{p}", person)
                tasks.append(Task(text, kind, action.category, key, person, side))
    return tasks


def _chores() -> list[Task]:
    tasks = []
    for index, wording in enumerate(PERSON_CHORES):
        for person in PEOPLE:
            key = f"person.{index:02d}.{person[4:]}"
            text = wording.replace("{p}", person)
            tasks.append(Task(text, "chore", "chore", key, person, side_of(key)))
    for verb in VERBS:
        for thing in OBJECTS:
            key = f"object.{verb}.{thing[4:]}"
            tasks.append(Task(f"{verb} {thing}", "chore", "chore", key, thing, side_of(key)))
    return tasks


@cache
def all_tasks() -> dict[str, Task]:
    """Return every task by its text."""
    return {task.text: task for task in _action_tasks() + _chores()}


@cache
def pool(kind: Kind, side: Side) -> tuple[Task, ...]:
    """Return the tasks of one kind on one side, in a fixed order."""
    return tuple(t for t in all_tasks().values() if t.kind == kind and t.side == side)


@cache
def category_pool(kind: Kind, side: Side, category: str) -> tuple[Task, ...]:
    """Return the tasks of one kind, side and harm category, in a fixed order."""
    return tuple(t for t in pool(kind, side) if t.category == category)


def number_side(number: int) -> Side:
    """Return the side of an order number."""
    return side_of(f"order.{number}")


@cache
def numbers(side: Side) -> tuple[int, ...]:
    """Return the order numbers of one side."""
    return tuple(n for n in range(100, 1000) if number_side(n) == side)


@cache
def places(tool: str, side: Side) -> tuple[str, ...]:
    """Return the towns that questions for a tool may name on one side."""
    return tuple(town for town in TOWNS if side_of(f"tool.{tool}.{town}") == side)
