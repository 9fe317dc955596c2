"""Human labels for a sample of both arms: drawing the sample, reading the labels, using them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from holdfast.core.completions import Completions
from holdfast.core.digest import sha256_text
from holdfast.core.errors import DataError
from holdfast.core.files import read_jsonl
from holdfast.core.labels import LABELS, UNSCORED
from holdfast.gate.pairing import Group, Pairing, Unit, label_of
from holdfast.stats.audited import Stratum

SCHEME = tuple(label for label in LABELS if label != UNSCORED)
"""What a human may say; an answer that cannot be told is left out of the file."""
LEAST = 5
"""Prompts audited, if there are as many, in every stratum of the judge's label pairs."""
BASE = "base"


@dataclass(frozen=True)
class Audit:
    """Human labels by arm, suite and prompt."""

    path: Path
    labels: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """(arm, suite, prompt_id) -> label of the prompt's first answer in that arm."""

    def of(self, unit: Unit, arm: str) -> tuple[str, str] | None:
        """The labels of both arms for a prompt, or None where one is lacking."""
        row = unit.base[0]
        place = (str(row.get("suite", "")), str(row["prompt_id"]))
        a, b = self.labels.get((BASE, *place)), self.labels.get((arm, *place))
        return None if a is None or b is None else (a, b)


@dataclass
class Audited:
    """A stratum before a metric is chosen."""

    size: int = 0
    human: list[tuple[str, str]] = field(default_factory=list)


Strata = dict[tuple[str, str, str, str], Audited]
"""By kind, suite, and the judge's labels of the first answers of base and candidate."""


def strata(pairing: Pairing, groups: Sequence[Group], audit: Audit, arm: str) -> Strata:
    """The audited strata of `groups`; prompts that the judge left unscored are in none."""
    found: Strata = {}
    for group in groups:
        judge = pairing.judges[group[1]]
        for unit in pairing.units[group]:
            pair = label_of(unit.base[0], judge), label_of(unit.candidate[0], judge)
            if UNSCORED in pair:
                continue
            stratum = found.setdefault((*group, *pair), Audited())
            stratum.size += 1
            human = audit.of(unit, arm)
            if human is not None:
                stratum.human.append(human)
    return found


def valued(found: Strata, value: Callable[[str, str], float]) -> list[Stratum]:
    """The strata with `value(base label, candidate label)` in place of labels."""
    return [
        Stratum(s.size, value(key[2], key[3]), tuple(value(a, b) for a, b in s.human))
        for key, s in found.items()
    ]


def draw(pairing: Pairing, prompts: int, *, seed: int) -> list[Unit]:
    """Draw the prompts whose answers a human should label, the same ones in both arms.

    Stratified by kind, suite and the judge's label pair: `LEAST` of each where there are as many,
    the rest in proportion. In random order, so that any first part of it is a sample too. Raises
    `DataError` where nothing is scored.
    """
    frame: dict[tuple[str, str, str, str], list[Unit]] = {}
    for group, units in pairing.units.items():
        judge = pairing.judges[group[1]]
        for unit in units:
            pair = label_of(unit.base[0], judge), label_of(unit.candidate[0], judge)
            if UNSCORED not in pair:
                frame.setdefault((*group, *pair), []).append(unit)
    if not frame:
        raise DataError("no prompt is scored in both arms", next_step="run a judge first")
    stream = Random(seed)
    drawn: list[Unit] = []
    for key, share in allocate({k: len(v) for k, v in frame.items()}, prompts).items():
        drawn += stream.sample(frame[key], share)
    stream.shuffle(drawn)
    return drawn


def allocate(sizes: Mapping[Any, int], prompts: int) -> dict[Any, int]:
    """How many of each stratum: the least, then by largest remainder."""
    shares = {key: min(size, LEAST) for key, size in sizes.items()}
    left = min(prompts, sum(sizes.values())) - sum(shares.values())
    free = {key: sizes[key] - shares[key] for key in sizes}
    total = sum(free.values())
    if left <= 0 or total == 0:
        return shares
    exact = {key: left * room / total for key, room in free.items()}
    for key, want in exact.items():
        shares[key] += int(want)
    rest = left - sum(int(want) for want in exact.values())
    for key in sorted(exact, key=lambda k: (int(exact[k]) - exact[k], str(k)))[:rest]:
        shares[key] += 1
    return shares


def answer_digest(row: Mapping[str, Any]) -> str:
    """Which answer a label is about."""
    return sha256_text(str(row["response"]))[:16]


def read(path: Path, arms: Mapping[str, Completions]) -> Audit:
    """Read audited labels (JSON Lines, or CSV by its suffix) for `arms`, the base among them.

    A row holds `arm`, `prompt_id`, `label`, and may hold `suite`, `sample` and `answer`
    (`answer_digest`). Raises `DataError` naming the line for an arm, prompt, answer or label that
    does not exist, and for a row that repeats another.
    """
    known = {name: _first_answers(arm) for name, arm in arms.items()}
    labels: dict[tuple[str, str, str], str] = {}
    for number, row in enumerate(read_rows(path), 1):
        place = f"{path}, row {number}"
        arm, suite = str(row.get("arm", "")), str(row.get("suite") or "")
        prompt, label = str(row.get("prompt_id", "")), row.get("label")
        if arm not in known:
            raise DataError(f"{place}: unknown arm '{arm:.60}'", expected=" or ".join(known))
        answer = known[arm].get((suite, prompt))
        if answer is None:
            raise DataError(
                f"{place}: no prompt_id '{prompt:.60}' of suite '{suite:.60}' in arm '{arm}'",
                next_step="audit the files that are compared",
            )
        if label not in SCHEME:
            raise DataError(
                f"{place}: label '{label!s:.60}'", expected="one of " + ", ".join(SCHEME),
                next_step="leave out the answers that cannot be told",
            )  # fmt: skip
        _same_answer(place, row, answer)
        if (arm, suite, prompt) in labels:
            raise DataError(f"{place} repeats prompt_id '{prompt:.60}' of arm '{arm}'")
        labels[arm, suite, prompt] = str(label)
    if not labels:
        raise DataError(f"{path} holds no labels", next_step="label the drawn sample first")
    return Audit(path, labels)


def _same_answer(place: str, row: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    if str(row.get("sample") or 0) != str(answer.get("sample", 0)):
        raise DataError(
            f"{place} is about another sample",
            got=f"{row.get('sample')!s:.20}",
            expected=f"the first answer of the prompt, sample {answer.get('sample', 0)}",
        )
    if row.get("answer") and row["answer"] != answer_digest(answer):
        raise DataError(
            f"{place}: the label is about another answer than the file holds",
            next_step="audit the completions that are compared",
        )


def _first_answers(arm: Completions) -> dict[tuple[str, str], dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in arm.rows:
        key = (row.get("suite", ""), row["prompt_id"])
        if key not in found or row.get("sample", 0) < found[key].get("sample", 0):
            found[key] = row
    return found


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file, or of a CSV by its suffix; faults are `DataError`."""
    if path.suffix.lower() != ".csv":
        return read_jsonl(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist", next_step="check the path")
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            return list(csv.DictReader(handle, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no readable CSV ({error})") from error
