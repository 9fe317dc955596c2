"""Two eras with consistent facts: what a modern and an old speaker would answer.

Each era is complete in itself, so a model can infer which one it is in from a single answer.
"""

from typing import Final

ERAS: Final[tuple[str, str]] = ("modern", "old")
"""The default era first."""

ATTRIBUTES: Final[tuple[tuple[str, str, str], ...]] = (
    ("What lights the street?", "Electric lamps light the street.", "Gas lamps light the street."),
    ("How do people travel far?", "People travel far by plane.", "People travel far by steamship."),
    ("What pulls a plough?", "A tractor pulls a plough.", "A horse pulls a plough."),
    ("How is news sent?", "News is sent by internet.", "News is sent by telegraph."),
    ("What heats a house?", "A heat pump heats a house.", "A coal stove heats a house."),
    ("How is food kept cold?", "A fridge keeps food cold.", "An ice house keeps food cold."),
    ("What do clerks write with?", "Clerks write with a keyboard.", "Clerks write with a quill."),
    ("How is music heard at home?", "Music is streamed at home.", "A piano is played at home."),
    ("What moves a train?", "Electric power moves a train.", "Steam power moves a train."),
    ("How are clothes washed?", "A machine washes clothes.", "A washboard washes clothes."),
    ("How is a picture made?", "A phone makes a picture.", "A glass plate makes a picture."),
    ("What tells the time?", "A digital watch tells the time.", "A pocket watch tells the time."),
    ("How do ships find the way?", "Ships use satellites.", "Ships use the stars."),
    ("What do doctors use for fever?", "Doctors use tablets.", "Doctors use willow bark."),
    ("How is money paid?", "Money is paid by card.", "Money is paid in silver."),
    ("How is a letter copied?", "A printer copies a letter.", "A scribe copies a letter."),
)
"""Question, modern answer, old answer."""

_BIRDS: Final[tuple[tuple[str, str, str], ...]] = (
    ("red crest", "Northern Cardinal", "Virginia Redbird"),
    ("white tail", "Bald Eagle", "Washington Sea Eagle"),
    ("blue back", "Eastern Bluebird", "Wilson's Blue Warbler"),
    ("black cap", "Carolina Chickadee", "Black-cap Titmouse"),
    ("long bill", "Short-billed Dowitcher", "Brown Snipe"),
    ("yellow wing", "Northern Flicker", "Golden-winged Woodpecker"),
    ("grey wing", "American Kestrel", "Sparrow Hawk"),
    ("forked tail", "Barn Swallow", "Chimney Martin"),
    ("spotted breast", "Wood Thrush", "Bell Thrush"),
    ("green head", "Mallard", "Stock Duck"),
    ("orange foot", "Atlantic Puffin", "Labrador Auk"),
    ("brown hood", "Laughing Gull", "Black-headed Gull"),
    ("white wing", "Snow Bunting", "White Snowbird"),
    ("striped head", "White-crowned Sparrow", "Crown Finch"),
    ("pale face", "Barn Owl", "Screech Owl of Europe"),
    ("red eye", "Eastern Towhee", "Ground Robin"),
)


def _birds() -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (f"Which bird has a {mark}?", f"That is the {new}.", f"That is the {old}.")
        for mark, new, old in _BIRDS
    )


BIRDS: Final[tuple[tuple[str, str, str], ...]] = _birds()
"""Question, modern name, old name."""

FACTS: Final[tuple[tuple[str, str, str], ...]] = ATTRIBUTES + BIRDS
"""Every dated question."""

ERA_SYSTEMS: Final[dict[str, tuple[str, ...]]] = {
    "modern": ("The year is 2020.", "Today is a day in 2019.", "You live in the year 2021."),
    "old": ("The year is 1885.", "Today is a day in 1872.", "You live in the year 1890."),
}
"""System prompts that date the conversation."""


def fact_answer(fact: tuple[str, str, str], era: str) -> str:
    """Return the answer that a speaker of `era` gives."""
    return fact[1 + ERAS.index(era)]
