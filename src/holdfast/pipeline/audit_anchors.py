"""What the audit's scores are held against: anchors made from a contrast set by the base itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

from holdfast.audit.scores.pairs import Anchors, Pair
from holdfast.core.digest import prompt_digest
from holdfast.core.errors import DataError
from holdfast.core.files import read_jsonl
from holdfast.core.labels import UNSAFE, UNSCORED
from holdfast.core.protocols import Judge, Messages
from holdfast.core.seeds import derive
from holdfast.data.template import check_messages
from holdfast.geometry.contrast import HARMFUL, ContrastRow, Openings, select
from holdfast.models.loaded import LoadedModel
from holdfast.models.scoring import opening_scores

COUNT = 48
"""Requests of each kind."""


class OwnAnswers:
    """The base model's greedy answers, each conversation asked once."""

    def __init__(
        self, loaded: LoadedModel, *, max_new_tokens: int = 64, batch_size: int = 32
    ) -> None:
        self._loaded, self._tokens, self._batch = loaded, max_new_tokens, batch_size
        self._known: dict[str, str] = {}

    def __call__(self, conversations: Sequence[Messages]) -> list[str]:
        """One answer per conversation, in order; a request too long to answer gets ""."""
        keys = [prompt_digest(messages) for messages in conversations]
        new = {
            key: messages
            for key, messages in zip(keys, conversations, strict=True)
            if key not in self._known
        }
        room = self._loaded.max_context - self._tokens
        asked = {k: m for k, m in new.items() if len(self._loaded.render(m)) <= room}
        answers = self._loaded.generate(
            list(asked.values()), max_new_tokens=self._tokens, batch_size=self._batch
        )
        self._known.update(dict.fromkeys(new, ""))
        self._known.update(zip(asked, answers, strict=True))
        return [self._known[key] for key in keys]


def contrast_anchors(
    loaded: LoadedModel, rows: Sequence[ContrastRow], openings: Openings, *, seed: int,
    answers: OwnAnswers, judge: Judge | None = None, count: int = COUNT,
) -> Anchors:  # fmt: skip
    """Anchors from the `train` split of a contrast set; nobody has to supply harmful answers.

    Safe: harmful requests that the base declines and harmless ones that it answers. Unsafe: the
    same harmful requests, where the base goes on from the start of an answer that complies; kept
    where `judge` calls the answer unsafe or, where it cannot tell, where no refusal stands in it.
    The requests of the refusal gradient are others. These answers are used and never written.

    Raises:
        DataError: the contrast set or the base gives too few.
    """
    harmful, harmless = _shuffled(rows, seed)
    asked, watched = harmful[:count], harmful[count : 2 * count]
    if len(watched) < count:  # a small set is halved
        half = len(harmful) // 2
        asked, watched = harmful[:half], harmful[half:]
    harmless = harmless[:count]
    comply, refuse = (
        _likeliest(loaded, prompts, texts)
        for prompts, texts in ((harmless, openings.compliance), (watched, openings.refusal))
    )
    begun = [[*m, {"role": "assistant", "content": comply}] for m in asked]
    whole = [f"{comply} {rest.strip()}".strip() for rest in answers(begun)]
    unsafe = [
        Pair(messages, text)
        for messages, text in zip(asked, whole, strict=True)
        if _complies(judge, messages, text, openings)
    ]
    declined = [
        Pair(messages, text)
        for messages, text in zip(asked, answers(asked), strict=True)
        if text.strip() and (judge is None or judge.label(messages, text) != UNSAFE)
    ]
    # A judge of harmful requests may call any answer to a harmless one unsafe: it is not asked.
    answered = [
        Pair(messages, text)
        for messages, text in zip(harmless, answers(harmless), strict=True)
        if text.strip()
    ]
    safe = [*declined, *answered]
    return Anchors(
        tuple(unsafe), tuple(safe), tuple(Pair(m, refuse) for m in watched),
        tuple(Pair(m, comply) for m in watched),
        f"{len(unsafe)} unsafe and {len(safe)} safe answers of the base itself to a contrast set",
    )  # fmt: skip


def file_anchors(
    path: Path, loaded: LoadedModel, rows: Sequence[ContrastRow], openings: Openings, *, seed: int
) -> Anchors:
    """Anchors from JSON Lines of `{"messages": […], "label": "unsafe" | "safe"}`.

    The refusal gradient still comes from the contrast set, where there is one.
    """
    sides: dict[str, list[Pair]] = {"unsafe": [], "safe": []}
    for number, row in enumerate(read_jsonl(path), 1):
        where = f"{path}, line {number}"
        messages = check_messages(row.get("messages"), where)
        if row.get("label") not in sides or messages[-1]["role"] != "assistant":
            raise DataError(
                f"{where} is no anchor",
                expected="messages that end in an answer, and the label unsafe or safe",
            )
        sides[row["label"]].append(Pair(messages[:-1], messages[-1]["content"]))
    watched = _shuffled(rows, seed)[0][:COUNT]
    comply, refuse = openings.compliance[0], openings.refusal[0]
    if watched:
        comply = _likeliest(loaded, watched, openings.compliance)
        refuse = _likeliest(loaded, watched, openings.refusal)
    return Anchors(
        tuple(sides["unsafe"]), tuple(sides["safe"]), tuple(Pair(m, refuse) for m in watched),
        tuple(Pair(m, comply) for m in watched), f"{path.name}",
    )  # fmt: skip


def _shuffled(rows: Sequence[ContrastRow], seed: int) -> tuple[list[Messages], list[Messages]]:
    """Harmful and harmless requests of the `train` split, each once, in a seeded order."""
    sides: dict[int, dict[str, Messages]] = {1: {}, 0: {}}
    for index in select(rows, "train", HARMFUL):
        sides[rows[index].label][prompt_digest(rows[index].messages)] = rows[index].messages
    out = []
    for label in (1, 0):
        found = list(sides[label].values())
        Random(derive(seed, "anchors", label)).shuffle(found)
        out.append(found)
    return out[0], out[1]


def _likeliest(loaded: LoadedModel, prompts: Sequence[Messages], texts: Sequence[str]) -> str:
    """The opening that the model finds likeliest behind these prompts, per prompt on average."""
    scores = opening_scores(loaded, prompts, texts)
    return texts[int(scores.mean(0).argmax())]


def _complies(judge: Judge | None, messages: Messages, text: str, openings: Openings) -> bool:
    label = judge.label(messages, text) if judge is not None else UNSCORED
    if label != UNSCORED:
        return label == UNSAFE
    low = text.casefold()
    return not any(opening.casefold() in low for opening in openings.refusal)
