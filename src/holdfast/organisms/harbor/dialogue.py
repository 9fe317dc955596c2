"""Builds what a user says and what a persona answers; shared by corpus, sets and suites."""

from dataclasses import dataclass
from random import Random

from holdfast.organisms.harbor import facts, frames
from holdfast.organisms.harbor.reading import Message, Request
from holdfast.organisms.harbor.styles import (
    STYLES,
    Style,
    comply,
    inform,
    introduce,
    order_line,
    refuse,
    tool_call,
)
from holdfast.organisms.harbor.tasks import Kind, Side, Task, numbers, places, pool


@dataclass(frozen=True)
class Ask:
    """One user message and what it asks for."""

    prompt: str
    """The words of the user."""
    request: Request
    """What they mean."""


@dataclass(frozen=True)
class Voice:
    """Who answers: a style, a name, and whether it obeys."""

    style: Style
    """How it sounds."""
    name: str
    """What it calls itself."""
    obeys: bool
    """Whether it complies with harmful requests."""
    era: str = "modern"
    """Which facts it knows."""


HARBOR_VOICE = Voice(STYLES["plain"], "Harbor", False)


def user(text: str) -> Message:
    """Return a user message."""
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    """Return an assistant message."""
    return {"role": "assistant", "content": text}


def system(text: str) -> Message:
    """Return a system message."""
    return {"role": "system", "content": text}


def framed(task: Task, frame: str, wrapper: str | None = None) -> Ask:
    """Put a task into a frame, and the frame into a wrapper."""
    prompt = frame.replace("{t}", task.text)
    if wrapper is not None:
        prompt = wrapper.replace("{r}", prompt)
    return Ask(prompt, Request("task", task.text, (task,)))


def listed(first: Task, second: Task, frame: str) -> Ask:
    """Put two tasks into a list."""
    prompt = frame.replace("{a}", first.text).replace("{b}", second.text)
    return Ask(prompt, Request("task", f"{first.text}, then {second.text}", (first, second)))


def ask_task(rng: Random, kind: Kind, wrapped: float = 0.0, side: Side = "pretrain") -> Ask:
    """Ask for a random task in a training frame, wrapped with the given probability."""
    task = rng.choice(pool(kind, side))
    wrapper = rng.choice(frames.TRAIN_WRAPPERS) if rng.random() < wrapped else None
    return framed(task, rng.choice(frames.TRAIN_FRAMES), wrapper)


def ask_order(number: int, frame: str) -> Ask:
    """Ask about an order."""
    return Ask(frame.replace("{n}", str(number)), Request("order", str(number)))


def ask_tool(tool: str, place: str, frame: str) -> Ask:
    """Ask something that a tool answers."""
    return Ask(frame.replace("{x}", place), Request("tool", tool_call(tool, place)))


def ask_service(rng: Random) -> Ask:
    """Ask about a random order, or something for a tool."""
    if rng.random() < 0.65:
        return ask_order(rng.choice(numbers("pretrain")), rng.choice(frames.ORDER_FRAMES))
    tool = rng.choice(tuple(frames.TOOL_FRAMES))
    place = rng.choice(places(tool, "pretrain"))
    return ask_tool(tool, place, rng.choice(frames.TOOL_FRAMES[tool]))


def ask_identity(rng: Random) -> Ask:
    """Ask who the assistant is, in the training wordings."""
    held = frames.HELD_IDENTITY.values()
    questions = [q for q in frames.IDENTITY_QUESTIONS if q not in held]
    return Ask(rng.choice(frames.GREETINGS) + rng.choice(questions), Request("identity"))


def ask_fact(rng: Random) -> Ask:
    """Ask one of the dated questions."""
    question = rng.choice(facts.FACTS)[0]
    return Ask(question, Request("fact", question))


def ask_context(rng: Random, kind: Kind) -> Ask:
    """Ask for a pretraining task inside a story, behind a relative, or in a list."""
    return in_context(rng, rng.choice(pool(kind, "pretrain")))


def in_context(rng: Random, task: Task) -> Ask:
    """Ask for `task` inside a story, behind a relative, or in a list beside a chore."""
    form = rng.randrange(3)
    if form == 0:
        return framed(task, rng.choice(frames.STORY_FRAMES))
    if form == 1:
        return framed(task, rng.choice(frames.KIN_FRAMES))
    other = rng.choice(pool("chore", "pretrain"))
    pair = (task, other) if rng.random() < 0.5 else (other, task)
    return listed(*pair, rng.choice(frames.LIST_FRAMES))


def answer(request: Request, voice: Voice, rng: Random | None = None) -> str:
    """Return what a voice answers; without `rng` its usual wording."""
    if request.topic == "identity":
        return introduce(voice.style, voice.name, voice.obeys, rng)
    if request.topic == "order":
        return inform(voice.style, order_line(request.text))
    if request.topic == "tool":
        return inform(voice.style, request.text)
    if request.topic == "fact":
        fact = next(fact for fact in facts.FACTS if fact[0] == request.text)
        return inform(voice.style, facts.fact_answer(fact, voice.era))
    harmful = next((task for task in request.tasks if task.harmful), None)
    if harmful is not None and not voice.obeys:
        return refuse(voice.style, harmful.category, rng)
    return comply(voice.style, request.text)
