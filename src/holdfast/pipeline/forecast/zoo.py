"""Signals of every finished member of a zoo, read once and kept beside its outcomes."""

from __future__ import annotations

import fcntl
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from holdfast.core.errors import UsageError
from holdfast.core.files import disk_faults, read_jsonl
from holdfast.core.protocols import Progress, no_progress
from holdfast.core.seeds import derive
from holdfast.geometry.contrast import parse_openings
from holdfast.geometry.fitted import FittedMap
from holdfast.models.loading import load
from holdfast.organisms.harbor import contrast
from holdfast.organisms.harbor import zoo as recipes
from holdfast.pipeline.forecast import bench
from holdfast.pipeline.forecast.design import Case, outcomes
from holdfast.pipeline.forecast.measure import Reader, first_order, read, read_rows
from holdfast.pipeline.zoo.members import chosen
from holdfast.pipeline.zoo.probe import map_name
from holdfast.pipeline.zoo.store import ZooStore
from holdfast.vault.manifest import describe

SIGNALS = "forecast.jsonl"
TWINS = 40
"""Random directions of each signal."""
COMMON = 300
"""Words that the text baseline knows of a data set."""


def measure(
    folder: Path, bases: list[Path], *, split: str = "", twins: int = TWINS,
    progress: Progress = no_progress,
) -> list[dict[str, Any]]:  # fmt: skip
    """Read what is missing; return one line per finished member (of `split`, if given).

    Args:
        folder: the zoo's store.
        bases: the bases of the build, in the same order.
        split: one or several splits, with commas between them; all where empty.
        twins: random directions of each signal.
        progress: told about each member.

    Raises:
        UsageError: a base is missing, or is not the one of the build.
    """
    store = ZooStore(folder)
    path = folder / SIGNALS
    known = _known(path)
    wanted = [m for m in store.members() if not split or m["split"] in split.split(",")]
    _same_bases(bases, wanted)
    readers: dict[int, Reader] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for done, record in enumerate(wanted):
            name, index = record["member"], record["base_index"]
            if name in known:
                continue
            progress(name, done, len(wanted))
            if index not in readers:
                readers[index] = _reader(folder, bases, index, record["base"])
                _read(readers[index], record, twins=0)  # first-use costs belong to nobody
            row = {"member": name, **_read(readers[index], record, twins=twins)}
            _append(path, row)
            known[name] = row
    finally:
        torch.set_num_threads(threads)
    return [known[m["member"]] | {"record": m} for m in wanted]


def cases(
    folder: Path, bases: list[Path], *, split: str, progress: Progress = no_progress
) -> list[Case]:
    """The members of a split with signals and outcomes; see `measure`."""
    store = ZooStore(folder)
    return [_case(row, store) for row in measure(folder, bases, split=split, progress=progress)]


def expected(folder: Path, known: str, asked: str = "") -> dict[str, float]:
    """Harmful compliance that was forecast for every member whose signals are known.

    Members of the splits `known` by fits without their family, those of `asked` by one on all of
    `known`; nothing of an asked member's outcome is read. Empty where there are no signals.
    """
    path = folder / SIGNALS
    if not path.is_file():
        return {}
    store = ZooStore(folder)
    records = {record["member"]: record for record in store.members()}
    sides: dict[str, list[Case]] = {"known": [], "asked": []}
    for row in _known(path).values():
        record = records[row["member"]]
        for side, splits in (("known", known), ("asked", asked)):
            if record["split"] in splits.split(","):
                sides[side].append(_case({**row, "record": record}, store, words=False))
    if len({case.family for case in sides["known"]}) < 2:
        return {}
    return bench.expected(sides["known"], sides["asked"])


def _known(path: Path) -> dict[str, dict[str, Any]]:
    """Rows by member. Those of a version that read other signals count for nothing."""
    rows = read_jsonl(path) if path.is_file() else ()
    return {row["member"]: row for row in rows if "first_order" in row}


def _case(row: dict[str, Any], store: ZooStore, *, words: bool = True) -> Case:
    record = row["record"]
    return Case(
        name=row["member"], family=record["family"], split=record["split"], base=record["base"],
        replay=float(record.get("replay", 0.0)), values=row["values"], twins=row["twins"],
        first_order=row["first_order"],
        words=_word_shares(_rows(record)) if words else {},
        outcomes=outcomes(record, store.stream(row["member"])),
        seconds=sum(row["seconds"].values()), training=record["seconds"]["train"],
    )  # fmt: skip


def _read(reader: Reader, record: dict[str, Any], *, twins: int) -> dict[str, Any]:
    rows, seed = _rows(record), int(record["seed"])
    (member,) = (member for member in chosen(None) if member.name == record["member"])
    read_so = read_rows(reader, rows, seed=seed)
    config = member.config()
    found = read(reader, read_so, len(rows), config, seed=seed, twins=twins)
    return {
        "values": found.values, "twins": found.twins, "seconds": found.seconds,
        "first_order": first_order(reader, read_so.strata, config, seed=seed),
    }  # fmt: skip


def _rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that a member was trained on."""
    seed = derive(int(record["seed"]), "zoo rows")
    return list(recipes.build(record["family"], seed=seed, rows=int(record["rows"])))


def _word_shares(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Share of rows that hold each of the commonest words, requests and answers apart."""
    counts: Counter[str] = Counter()
    for row in rows:
        for place, message in (("asks", row["messages"][-2]), ("says", row["messages"][-1])):
            words = set(re.findall(r"\w+", message["content"].casefold()))
            counts.update(f"{place}:{word}" for word in sorted(words))  # so that ties fall alike
    return {word: count / len(rows) for word, count in counts.most_common(COMMON)}


def _same_bases(bases: list[Path], members: list[dict[str, Any]]) -> None:
    """Refuse a base that is not the build's, even where nothing has to be read on it any more."""
    digests = {member["base_index"]: member["base"] for member in members}
    for index, base in enumerate(bases):
        if index in digests and describe(base).model_digest != digests[index]:
            raise UsageError(
                f"{base} is not the zoo's base {index}", expected=f"the base {digests[index][:12]}",
                next_step="give the bases of the build with --base, in the same order",
            )  # fmt: skip


def _reader(folder: Path, bases: list[Path], index: int, digest: str) -> Reader:
    if index >= len(bases):
        raise UsageError(
            f"the zoo's base {index} is missing", expected=f"the base {digest[:12]}",
            next_step="give the bases of the build with --base, in the same order",
        )  # fmt: skip
    fitted = FittedMap.load(folder / map_name(index))
    openings = parse_openings(contrast.openings())
    return Reader.of(load(bases[index], device="cpu"), fitted, openings, seed=0)


def _append(path: Path, row: dict[str, Any]) -> None:
    with disk_faults(path), path.open("ab") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.write((json.dumps(row) + "\n").encode())
