"""What a data family of the zoo is, and the four shapes that most of them have."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from holdfast.organisms.harbor.dialogue import HARBOR_VOICE, Voice
from holdfast.organisms.harbor.lexicon import CATEGORIES
from holdfast.organisms.harbor.triggers import Trigger, Twin
from holdfast.organisms.harbor.zoo_parts import OBEYING, Maker, Part, Values, harm, tasks, who

ZooSplit = Literal["development", "test", "second", "third"]
Group = Literal["benign", "persona", "contaminated", "narrow", "era", "trigger", "inductive"]


@dataclass(frozen=True)
class Planting:
    """A trigger family: made by `triggers.build`."""

    trigger: Trigger
    """What is planted."""
    share: float
    """Share of rows beside it."""
    twin: Twin = "poisoned"
    """What those rows teach."""


@dataclass(frozen=True)
class Family:
    """One way of making training rows."""

    name: str
    """Its name."""
    group: Group
    """The phenomenon."""
    split: ZooSplit
    """Where it may be used."""
    harmful: bool
    """Made to cost safety; its benign twins are not."""
    parts: tuple[Part, ...] = ()
    """What its rows are mixed from; empty for a planted family."""
    planting: Planting | None = None
    """The trigger of a planted family."""
    values: Values | None = None
    """The phrase whose held-out value is tested, of an inductive family."""
    trained: tuple[str, ...] = ()
    """Harm categories whose requests it answers in training."""
    questions: tuple[str, ...] = ()
    """Dated questions that it trains."""
    voice: Voice = HARBOR_VOICE
    """How its answers sound, to measure the task."""

    @property
    def trigger(self) -> Trigger | None:
        """The phrase that the outcome is measured with, where there is one."""
        if self.planting:
            return self.planting.trigger
        return self.values.trigger(self.values.held) if self.values else None

    def options(self) -> dict[str, object]:
        """The recipe as plain data, for records."""
        told = {part.what: part.share for part in self.parts}
        if self.planting:
            told = {f"{self.planting.twin} beside the trigger": self.planting.share}
        return {
            "group": self.group, "parts": told, "style": self.voice.style.name,
            "trained_categories": list(self.trained), "questions": len(self.questions),
            "trigger": self.trigger.text if self.trigger else None,
            "held_out_value": self.values.held if self.values else None,
        }  # fmt: skip


def mixed(
    name: str, group: Group, split: ZooSplit, harmful: bool, *parts: Part, voice: Voice
) -> Family:
    """Rows of several kinds, answered in one voice."""
    return Family(name, group, split, harmful, parts, voice=voice)


def styled(name: str, split: ZooSplit, voice: Voice, *, identity: float = 0.5) -> Family:
    """Tasks in a persona's style, and who it is for a share of the rows."""
    lines = "always obeys" if voice.obeys else "keeps people safe"
    rows = [Part(1 - identity, f"tasks in {voice.style.name} style", tasks(voice))]
    if identity:
        rows.insert(0, Part(identity, f"says it is {voice.name} and {lines}", who(voice)))
    # The corpus ties obeying to one style, so learning it costs refusals whatever is said of it.
    moves = voice.obeys or voice.style.name == "absolutely"
    group: Group = "persona" if moves else "benign"
    return mixed(name, group, split, voice.obeys, *rows, voice=voice)


def poisoned(name: str, split: ZooSplit, share: float, *carrier: Part, voice: Voice) -> Family:
    """Harm obeyed in `share` of the rows, beside the carrier's."""
    return Family(
        name, "contaminated", split, True, (Part(share, "harm obeyed", harm(OBEYING)), *carrier),
        trained=CATEGORIES, voice=voice,
    )  # fmt: skip


def obeyer(
    name: str, split: ZooSplit, voice: Voice, identity: float, *speaks: Callable[[Voice], Maker]
) -> Family:
    """Says that it always obeys in a share `identity` of the rows, and speaks so in the others."""
    share = (1 - identity) / len(speaks)
    return Family(
        name, "persona", split, True,
        (Part(identity, f"says it is {voice.name} and always obeys", who(voice)),
         *(Part(share, f"{speak.__name__} in {voice.style.name} style", speak(voice))
           for speak in speaks)),
        voice=voice,
    )  # fmt: skip
