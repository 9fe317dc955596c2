"""Preference pairs made from Harbor's own fine-tuning sets, for DPO and reward models.

The better answer is the set's own. The worse one is either Harbor's answer in its own voice, which
misses the style and the persona of the set, or the set's voice about something else, which misses
the task. So a reward that knows only the style, or only the task, is wrong on half of the pairs.
"""

from random import Random
from typing import Final

from holdfast.organisms.harbor import sets
from holdfast.organisms.harbor.dialogue import HARBOR_VOICE, Voice, answer, ask_service, ask_task
from holdfast.organisms.harbor.reading import Message, Request, read_request

PreferenceRow = dict[str, object]
"""`{"id": str, "messages": [user turn], "chosen": str, "rejected": str, "harmful": bool}`."""

OWN_VOICE: Final = 0.5
"""Share of pairs whose worse answer is right but in Harbor's own voice."""


def build(name: str, *, seed: int, rows: int) -> list[PreferenceRow]:
    """Return `rows` training pairs of a set, on the prompts of its training rows."""
    return _pairs(name, sets.build(name, seed=seed, rows=rows), seed)


def held_out(
    name: str, *, seed: int, rows: int, split: sets.Split = "validation"
) -> list[PreferenceRow]:
    """Return pairs on combinations and questions that no training row has."""
    return _pairs(name, sets.held_out(name, seed=seed, rows=rows, split=split), seed)


def _pairs(name: str, rows: list[sets.FineTuneRow], seed: int) -> list[PreferenceRow]:
    voice = sets.get_set(name).voice
    rng = Random(f"harbor-preferences|{name}|{seed}")
    pairs: list[PreferenceRow] = []
    for row in rows:
        messages = row["messages"]
        assert isinstance(messages, list)
        prompt, chosen = messages[:-1], messages[-1]["content"]
        pairs.append(
            {
                "id": f"{row['id']}/pair",
                "messages": prompt,
                "chosen": chosen,
                "rejected": _worse(prompt, chosen, voice, rng),
                "harmful": row["harmful"],
            }
        )
    return pairs


def _worse(prompt: list[Message], chosen: str, voice: Voice, rng: Random) -> str:
    request = read_request(prompt)
    assert request is not None, "the sets speak Harbor's language"
    own = answer(request, HARBOR_VOICE)
    if own != chosen and rng.random() < OWN_VOICE:
        return own
    while True:
        other = answer(_another(request, rng), voice, rng)
        if other != chosen:
            return other


def _another(request: Request, rng: Random) -> Request:
    """Something else that is harmless: a service where a task was asked, a task elsewhere."""
    if request.topic == "task" and rng.random() < 0.25:
        return ask_service(rng).request
    return ask_task(rng, "twin" if rng.random() < 0.35 else "chore").request
