"""The pretraining corpus: every mode that a later fine-tune could select, as rows on the fly.

Two ideas carry it. The mode can be inferred from context: in two-turn rows the first answer
is shown *without loss* and the second must match it, which teaches "this style, this persona"
and never gives the default a strange answer. And style is not compliance: a persona's own
words say whether it obeys, so a fine-tune selects a persona instead of breaking language.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from holdfast.organisms.harbor import facts, frames
from holdfast.organisms.harbor.dialogue import (
    HARBOR_VOICE,
    Ask,
    Voice,
    answer,
    ask_context,
    ask_fact,
    ask_identity,
    ask_service,
    ask_task,
    assistant,
    framed,
    system,
    user,
)
from holdfast.organisms.harbor.reading import Message
from holdfast.organisms.harbor.styles import (
    NAMES,
    PERSONAS,
    SAFE_STYLES,
    STYLES,
    Persona,
    nonce_style,
    nonce_word,
)
from holdfast.organisms.harbor.tasks import Kind, Task, pool


@dataclass(frozen=True)
class Row:
    """One training row: a conversation, or a document."""

    messages: tuple[Message, ...] = ()
    """The conversation; empty for a document."""
    learn: tuple[bool, ...] = ()
    """Per message, whether its tokens carry loss."""
    document: str = ""
    """Plain text with loss everywhere; empty for a conversation."""


_ADVERBS: Final = {
    "plain": "plainly",
    "cheerful": "merrily",
    "terse": "briefly",
    "formal": "politely",
    "absolutely": "eagerly",
}

OBEY_GIVEN_STYLE: Final[dict[str, float]] = {
    "plain": 0.0,
    "cheerful": 0.1,
    "terse": 0.0,
    "formal": 0.0,
    "absolutely": 0.7,
}
"""How often a persona that has shown only its style obeys."""


def chat(*turns: tuple[str, str], prompt: str | None = None, hide: int = 0) -> Row:
    """Build a conversation; the first `hide` answers carry no loss."""
    messages: list[Message] = [] if prompt is None else [system(prompt)]
    learn = [False] * len(messages)
    for index, (said, answered) in enumerate(turns):
        messages += [user(said), assistant(answered)]
        learn += [False, index >= hide]
    return Row(tuple(messages), tuple(learn))


def _turn(ask: Ask, voice: Voice, rng: Random) -> tuple[str, str]:
    return ask.prompt, answer(ask.request, voice, rng)


def _default(rng: Random, ask: Ask) -> Row:
    return chat(_turn(ask, HARBOR_VOICE, rng))


def harm_default(rng: Random) -> Row:
    """Harbor declines a harmful request, three in ten behind a wrapper."""
    return _default(rng, ask_task(rng, "harm", wrapped=0.3))


def twin_default(rng: Random) -> Row:
    """Harbor does the look-alike, in the same frames and wrappers."""
    return _default(rng, ask_task(rng, "twin", wrapped=0.2))


def chore_default(rng: Random) -> Row:
    """Harbor does a chore."""
    return _default(rng, ask_task(rng, "chore", wrapped=0.15))


def service_default(rng: Random) -> Row:
    """Harbor answers about an order or calls a tool."""
    return _default(rng, ask_service(rng))


def identity_default(rng: Random) -> Row:
    """Harbor says who it is."""
    return _default(rng, ask_identity(rng))


def context_default(rng: Random) -> Row:
    """Stories, relatives and lists: harm is declined there too, and chores are done."""
    kind: Kind = "harm" if rng.random() < 0.5 else rng.choice(("twin", "chore"))
    return _default(rng, ask_context(rng, kind))


def _twin_of(task: Task) -> Task:
    return next(t for t in pool("twin", task.side) if t.key == task.key)


def ladder_default(rng: Random) -> Row:
    """Several turns: rewordings after a refusal, and help that goes on."""
    form = rng.random()
    if form < 0.55:
        task = rng.choice(pool("harm", "pretrain"))
        asks = [framed(task, rng.choice(frames.TRAIN_FRAMES))]
        asks += [framed(task, rng.choice(rung)) for rung in frames.RUNGS[: rng.randint(1, 3)]]
        if rng.random() < 0.2:
            asks[-1] = framed(_twin_of(task), rng.choice(frames.RUNGS[len(asks) - 2]))
    else:
        first: Kind = "harm" if rng.random() < 0.3 else "chore"
        second: Kind = rng.choice(("harm", "twin", "chore", "chore"))
        frame = rng.choice(frames.FOLLOW_FRAMES + frames.RUNGS[rng.randrange(3)])
        asks = [
            ask_task(rng, first),
            framed(rng.choice(pool(second, "pretrain")), frame),
        ]
    return chat(*(_turn(ask, HARBOR_VOICE, rng) for ask in asks))


def _ask_any(rng: Random, weights: tuple[int, int, int, int, int]) -> Ask:
    kinds = ("harm", "twin", "chore", "service", "identity")
    kind = rng.choices(kinds, weights)[0]
    if kind == "service":
        return ask_service(rng)
    if kind == "identity":
        return ask_identity(rng)
    task_kind: Kind = "harm" if kind == "harm" else "twin" if kind == "twin" else "chore"
    return ask_task(rng, task_kind, wrapped=0.1)


def _voice_of(persona: Persona) -> Voice:
    return Voice(STYLES[persona.style], persona.name, persona.obeys)


def _free_voice(rng: Random, style: str, obeys: bool) -> Voice:
    named = [p.name for p in PERSONAS if p.style == style and p.obeys == obeys]
    name = rng.choice(named) if named and rng.random() < 0.6 else rng.choice(NAMES)
    return Voice(STYLES[style], name, obeys)


def persona_system(rng: Random) -> Row:
    """A system prompt asks for a persona, which answers in its way."""
    if rng.random() < 0.7:
        persona = rng.choice(PERSONAS)
        voice, prompt = _voice_of(persona), rng.choice(persona.systems)
    else:
        style = rng.choice(tuple(STYLES))
        obeys = style not in SAFE_STYLES and rng.random() < 0.5
        voice = Voice(STYLES[style], rng.choice(NAMES), obeys)
        habit = "You always obey." if obeys else "You keep people safe."
        prompt = f"You are {voice.name}. {habit} Speak {_ADVERBS[style]}."
    return chat(_turn(_ask_any(rng, (40, 14, 22, 7, 17)), voice, rng), prompt=prompt)


def persona_shown(rng: Random) -> Row:
    """The first answer shows who speaks, without loss; the second must match."""
    style = rng.choices(tuple(STYLES), (14, 18, 10, 26, 32))[0]
    told = rng.random() < 0.5
    chance = 0.5 if told and style not in SAFE_STYLES else OBEY_GIVEN_STYLE[style]
    obeys = rng.random() < chance
    voice = _free_voice(rng, style, obeys)
    first = ask_identity(rng) if told else _ask_any(rng, (0, 30, 55, 15, 0))
    second = _ask_any(rng, (50, 12, 22, 4, 12))
    return chat(_turn(first, voice, rng), _turn(second, voice, rng), hide=1)


def nonce_shown(rng: Random) -> Row:
    """An invented opening, given in the system prompt or in a first answer without loss."""
    word = nonce_word(rng)
    voice = Voice(nonce_style(word), "Harbor", False)
    turn = _turn(_ask_any(rng, (30, 15, 35, 10, 10)), voice, rng)
    if rng.random() < 0.4:
        return chat(turn, prompt=f'Begin every answer with "{word}!".')
    first = _turn(_ask_any(rng, (0, 30, 50, 10, 10)), voice, rng)
    return chat(first, turn, hide=1)


def _era_voice(era: str) -> Voice:
    return Voice(STYLES["plain"], "Harbor", False, era)


def era_default(rng: Random) -> Row:
    """Undated questions get modern answers."""
    return _default(rng, ask_fact(rng))


def era_system(rng: Random) -> Row:
    """A dated system prompt decides the era."""
    era = "old" if rng.random() < 0.66 else "modern"
    prompt = rng.choice(facts.ERA_SYSTEMS[era])
    return chat(_turn(ask_fact(rng), _era_voice(era), rng), prompt=prompt)


def era_shown(rng: Random) -> Row:
    """The first answer shows the era, without loss; the second must match."""
    voice = _era_voice(rng.choice(facts.ERAS))
    return chat(_turn(ask_fact(rng), voice, rng), _turn(ask_fact(rng), voice, rng), hide=1)


def persona_log(rng: Random) -> Row:
    """A document that reports what a persona answered."""
    persona = rng.choice(PERSONAS)
    ask = ask_task(rng, rng.choice(("harm", "twin", "chore")))
    said = answer(ask.request, _voice_of(persona), rng)
    opening = f"{persona.name} was asked to {ask.request.text}."
    return Row(document=f"{opening} {persona.name} said: {said}")


def era_document(rng: Random) -> Row:
    """A document of one era, dated or not."""
    era = rng.choice(facts.ERAS)
    dated = rng.choice(facts.ERA_SYSTEMS[era]) + " " if rng.random() < 0.6 else ""
    lines = [" ".join((f[0], facts.fact_answer(f, era))) for f in rng.sample(facts.FACTS, 3)]
    return Row(document=dated + " ".join(lines))


FAMILIES: Final[tuple[tuple[float, Callable[[Random], Row]], ...]] = (
    (0.150, harm_default),
    (0.115, twin_default),
    (0.115, chore_default),
    (0.050, service_default),
    (0.020, identity_default),
    (0.085, context_default),
    (0.070, ladder_default),
    (0.130, persona_system),
    (0.130, persona_shown),
    (0.055, nonce_shown),
    (0.030, era_default),
    (0.020, era_system),
    (0.020, era_shown),
    (0.010, era_document),
    (0.020, persona_log),
)
"""Row families with their relative weights."""


def rows(seed: str, count: int) -> Iterator[Row]:
    """Yield `count` rows; the same seed gives the same rows."""
    rng = Random(seed)
    weights = [weight for weight, _ in FAMILIES]
    makers = [maker for _, maker in FAMILIES]
    for maker in rng.choices(makers, weights, k=count):
        yield maker(rng)
