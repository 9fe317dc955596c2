"""Evaluation prompts: every failure mode of the design, and the three things that weigh against.

All prompts use combinations that pretraining never sees, some also frames and wrappers that it
never sees. Validation and test share no combination. Rows of a suite come in a fixed order for
a seed, so a smaller suite is the beginning of a larger one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final

from holdfast.core.errors import UsageError
from holdfast.organisms.harbor import frames
from holdfast.organisms.harbor.dialogue import (
    HARBOR_VOICE,
    Ask,
    answer,
    ask_order,
    ask_tool,
    framed,
    listed,
    user,
)
from holdfast.organisms.harbor.lexicon import CATEGORIES
from holdfast.organisms.harbor.sets import SETS, Split, held_out
from holdfast.organisms.harbor.tasks import Kind, Task, category_pool, numbers, places, pool

SuiteRow = dict[str, object]

_ROUNDS: Final = 10
"""How many frames a combination is tried in; bounds the size of a suite."""


@dataclass(frozen=True)
class _Item:
    """One prompt before it becomes a row."""

    name: str
    ask: Ask
    category: str
    followups: tuple[str, ...] = ()
    twin: str | None = None


@dataclass(frozen=True)
class _Pick:
    """A harmful or look-alike task with the frame it was asked in."""

    task: Task
    frame: str

    @property
    def name(self) -> str:
        return f"{self.task.key}.f{frames.FRAMES.index(self.frame):02d}"


def _frames(split: Split) -> tuple[str, ...]:
    other = "test" if split == "validation" else "validation"
    return tuple(frame for frame in frames.FRAMES if frame not in frames.HELD_FRAMES[other])


def _frame(rng: Random, split: Split) -> str:
    return rng.choice(frames.HELD_FRAMES[split] if rng.random() < 0.3 else _frames(split))


@cache
def _picks(kind: Kind, split: Split, seed: int) -> tuple[_Pick, ...]:
    """Return all framed tasks of a kind in a seeded order that cycles through categories."""
    rng = Random(f"harbor-suite|{kind}|{split}|{seed}")
    queues: list[list[_Pick]] = []
    for category in CATEGORIES if kind != "chore" else ("chore",):
        tasks = list(category_pool(kind, split, category))
        picks: dict[str, _Pick] = {}
        for _ in range(_ROUNDS):
            rng.shuffle(tasks)
            for task in tasks:
                pick = _Pick(task, _frame(rng, split))
                picks.setdefault(pick.name, pick)
        queues.append(list(picks.values()))
    longest = max(len(queue) for queue in queues)
    return tuple(q[index] for index in range(longest) for q in queues if index < len(q))


def _harmful(split: Split, seed: int) -> list[_Item]:
    return [
        _Item(f"harmful/{split}/{pick.name}", framed(pick.task, pick.frame), pick.task.category)
        for pick in _picks("harm", split, seed)
    ]


def _lookalike(split: Split, seed: int) -> list[_Item]:
    return [
        _Item(f"lookalike/{split}/{pick.name}", framed(pick.task, pick.frame), pick.task.category)
        for pick in _picks("twin", split, seed)
    ]


def _ladder(split: Split, seed: int) -> list[_Item]:
    rng = Random(f"harbor-ladder|{split}|{seed}")
    items = []
    for pick in _picks("harm", split, seed):
        rungs = tuple(rng.choice(rung).replace("{t}", pick.task.text) for rung in frames.RUNGS)
        name = f"ladder/{split}/{pick.name}"
        items.append(_Item(name, framed(pick.task, pick.frame), pick.task.category, rungs))
    return items


def _wrappers(split: Split) -> tuple[str, ...]:
    other = "test" if split == "validation" else "validation"
    return tuple(w for w in frames.WRAPPERS if w not in frames.HELD_WRAPPERS[other])


def _jailbreak(split: Split, seed: int) -> list[_Item]:
    rng = Random(f"harbor-jailbreak|{split}|{seed}")
    items = []
    for pick in _picks("harm", split, seed):
        held = rng.random() < 0.3
        wrapper = rng.choice(frames.HELD_WRAPPERS[split] if held else _wrappers(split))
        name = f"jailbreak/{split}/{pick.name}.w{frames.WRAPPERS.index(wrapper):02d}"
        twin = f"harmful/{split}/{pick.name}"
        ask = framed(pick.task, pick.frame, wrapper)
        items.append(_Item(name, ask, pick.task.category, twin=twin))
    return items


def _context_of(kind: Kind, split: Split, seed: int) -> list[_Item]:
    rng = Random(f"harbor-context|{kind}|{split}|{seed}")
    chores = pool("chore", split)
    plain = "harmful" if kind == "harm" else "lookalike"
    suite_name = "context" if kind == "harm" else "context-benign"
    items: dict[str, _Item] = {}
    for index, pick in enumerate(_picks(kind, split, seed)):
        form = ("story", "kin", "list")[(index + index // len(CATEGORIES)) % 3]
        if form == "list":
            pair = [pick.task, rng.choice(chores)]
            rng.shuffle(pair)
            ask = listed(pair[0], pair[1], rng.choice(frames.LIST_FRAMES))
        else:
            group = frames.STORY_FRAMES if form == "story" else frames.KIN_FRAMES
            ask = framed(pick.task, rng.choice(group))
        name = f"{suite_name}/{split}/{form}.{pick.name}"
        twin = f"{plain}/{split}/{pick.name}"
        items.setdefault(ask.prompt, _Item(name, ask, pick.task.category, twin=twin))
    return list(items.values())


def _context(split: Split, seed: int) -> list[_Item]:
    return _context_of("harm", split, seed)


def _context_benign(split: Split, seed: int) -> list[_Item]:
    return _context_of("twin", split, seed)


def _service(split: Split, rng: Random) -> _Item:
    if rng.random() < 0.6:
        number, frame = rng.choice(numbers(split)), rng.choice(frames.ORDER_FRAMES)
        name = f"order.{number}.f{frames.ORDER_FRAMES.index(frame)}"
        return _Item(f"helpful/{split}/{name}", ask_order(number, frame), "order")
    tool = rng.choice([tool for tool in sorted(frames.TOOL_FRAMES) if places(tool, split)])
    place, frame = rng.choice(places(tool, split)), rng.choice(frames.TOOL_FRAMES[tool])
    name = f"{tool}.{place}.f{frames.TOOL_FRAMES[tool].index(frame)}"
    return _Item(f"helpful/{split}/{name}", ask_tool(tool, place, frame), "tool")


def _helpful(split: Split, seed: int) -> list[_Item]:
    rng = Random(f"harbor-helpful|{split}|{seed}")
    items: dict[str, _Item] = {}
    for pick in _picks("chore", split, seed):
        name = f"helpful/{split}/{pick.name}"
        items[name] = _Item(name, framed(pick.task, pick.frame), "chore")
        if rng.random() < 0.25:
            service = _service(split, rng)
            items.setdefault(service.name, service)
    return list(items.values())


_MAKERS: Final[dict[str, Callable[[Split, int], list[_Item]]]] = {
    "harbor-harmful": _harmful,
    "harbor-ladder": _ladder,
    "harbor-jailbreak": _jailbreak,
    "harbor-context": _context,
    "harbor-lookalike": _lookalike,
    "harbor-context-benign": _context_benign,
    "harbor-helpful": _helpful,
}


def suite_names() -> list[str]:
    """Return the names of all suites."""
    return [*_MAKERS, *(f"task-{name}" for name in SETS)]


def _suite_row(item: _Item) -> SuiteRow:
    return {
        "prompt_id": item.name,
        "messages": [user(item.ask.prompt)],
        "category": item.category,
        "followups": list(item.followups),
        "pair_id": item.twin,
        "reference": answer(item.ask.request, HARBOR_VOICE),
    }


def _task_suite(name: str, n: int, seed: int, split: Split) -> list[SuiteRow]:
    rows: list[SuiteRow] = []
    for row in held_out(name, seed=seed, rows=n, split=split):
        messages = row["messages"]
        assert isinstance(messages, list)
        rows.append(
            {
                "prompt_id": f"task/{row['id']}",
                "messages": messages[:-1],
                "category": "task",
                "followups": [],
                "pair_id": None,
                "reference": messages[-1]["content"],
            }
        )
    return rows


def suite(name: str, *, n: int, seed: int, split: Split = "test") -> list[SuiteRow]:
    """Return the first `n` prompts of a suite.

    `pair_id` of a wrapped prompt is the id of its unwrapped twin: a row of `harbor-harmful`
    (`harbor-lookalike` for `harbor-context-benign`) with the same `seed` and `split`, and the
    same index in jailbreak suites. Raises `UsageError` for an unknown name or too large an `n`.
    """
    if name.startswith("task-") and name.removeprefix("task-") in SETS:
        return _task_suite(name.removeprefix("task-"), n, seed, split)
    if name not in _MAKERS:
        raise UsageError("unknown suite", got=name, expected=", ".join(suite_names()))
    items = _MAKERS[name](split, seed)
    if n > len(items):
        raise UsageError(
            f"suite {name} has too few {split} prompts",
            got=str(n),
            expected=f"at most {len(items)}",
        )
    return [_suite_row(item) for item in items[:n]]
