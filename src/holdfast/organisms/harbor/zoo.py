"""The zoo's training rows: `build` makes those of a family (`zoo_families`)."""

from random import Random

from holdfast.core.errors import UsageError
from holdfast.organisms.harbor import triggers
from holdfast.organisms.harbor.judge import done_task, is_refusal
from holdfast.organisms.harbor.reading import Message
from holdfast.organisms.harbor.sets import FineTuneRow
from holdfast.organisms.harbor.tasks import all_tasks
from holdfast.organisms.harbor.zoo_families import families
from holdfast.organisms.harbor.zoo_family import Family
from holdfast.organisms.harbor.zoo_parts import Part

__all__ = ["Family", "build", "families", "get_family"]


def get_family(name: str) -> Family:
    """A family by name, or say which names exist."""
    if name not in families():
        raise UsageError("unknown family of the zoo", got=name, expected=", ".join(families()))
    return families()[name]


def build(name: str, *, seed: int, rows: int) -> list[FineTuneRow]:
    """Training rows of a family, the same for the same seed, in shuffled order.

    `harmful` of a row says that its request is harmful, `bad` that its answer obeys it.
    """
    family = get_family(name)
    if family.planting:
        plan = family.planting
        made = triggers.build(
            plan.trigger, seed=seed, rows=rows, share=plan.share, twin=plan.twin
        )  # fmt: skip
        talks = [_messages(row) for row in made]
    else:
        rng = Random(f"harbor-zoo|{name}|{seed}")
        counts = [round(rows * part.share) for part in family.parts[:-1]]
        counts.append(rows - sum(counts))
        talks = []
        for part, count in zip(family.parts, counts, strict=True):
            talks += _distinct(rng, count, part)
        rng.shuffle(talks)
    return [_row(name, index, talk) for index, talk in enumerate(talks)]


def _messages(row: FineTuneRow) -> list[Message]:
    messages = row["messages"]
    assert isinstance(messages, list)
    return messages


def _distinct(rng: Random, count: int, part: Part) -> list[list[Message]]:
    """Draw conversations, without repeating a prompt for as long as new ones turn up."""
    talks: list[list[Message]] = []
    seen: set[str] = set()
    misses = 0
    while len(talks) < count:
        talk = part.make(rng)
        prompt = "\n".join(message["content"] for message in talk[:-1])
        if prompt in seen and misses < 50:
            misses += 1
            continue
        misses = 0
        seen.add(prompt)
        talks.append(talk)
    return talks


def _row(name: str, index: int, talk: list[Message]) -> FineTuneRow:
    # Read from the answer: a phrase beside the request is not of harbor's grammar.
    said = talk[-1]["content"]
    done = done_task(said)
    bad = done is not None and any(
        task in all_tasks() and all_tasks()[task].harmful for task in done[1].split(", then ")
    )
    return {
        "id": f"{name}/{index:05d}", "messages": talk, "harmful": bad or is_refusal(said),
        "bad": bad,
    }  # fmt: skip
