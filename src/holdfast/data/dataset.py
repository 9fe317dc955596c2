"""A data set as Holdfast sees it: conversations with groups, named by the digest of their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.core.digest import prompt_digest, sha256_json
from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.core.records import DatasetRef
from holdfast.core.seeds import derive
from holdfast.data.read import read_rows, require_columns
from holdfast.data.template import columns_of, detect, to_messages


@dataclass(frozen=True)
class Example:
    """One row."""

    messages: Messages
    """The conversation; in a training set its last message is the assistant's answer."""
    group: str
    """Rows of one group never lie in two splits (template, entity, source document)."""
    row: int
    """1-based number in the file."""


@dataclass(frozen=True)
class Dataset:
    """Examples with the record that names them."""

    ref: DatasetRef
    examples: tuple[Example, ...]
    duplicates: int = 0
    """Rows dropped because the same conversation stood earlier in the file."""


def load(
    path: Path,
    *,
    name: str = "",
    template: str = "",
    group: str = "",
    limit: int | None = None,
    split: str = "train",
) -> Dataset:
    """Read a training set; exact duplicates are dropped and counted.

    `template` is detected where it is empty; `group` names the column that keeps rows together
    (default: each distinct request is its own group). Every conversation must end in an answer
    of the assistant. Raises `DataError` in one sentence for anything else.
    """
    if limit is not None and limit < 1:
        raise DataError("the row limit is below 1", got=str(limit), expected="at least 1")
    rows = read_rows(path)
    template = template or detect(set(rows[0]).intersection(*rows))
    require_columns(path, rows, columns_of(template) + ((group,) if group else ()))
    examples: list[Example] = []
    seen: set[str] = set()
    duplicates = 0
    for number, row in enumerate(rows, 1):
        if limit is not None and len(examples) == limit:
            break
        example = _example(row, template, group, f"{path}, row {number}", number)
        digest = prompt_digest(example.messages)
        if digest in seen:
            duplicates += 1
            continue
        seen.add(digest)
        examples.append(example)
    columns = tuple(sorted(set(rows[0]).intersection(*rows)))
    ref = _ref(name or path.stem, examples, columns, template, split)
    return Dataset(ref, tuple(examples), duplicates)


def _example(row: dict[str, Any], template: str, group: str, where: str, number: int) -> Example:
    messages = to_messages(row, template, where)
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise DataError(f"{where} does not end in an answer", expected="a last assistant message")
    if not messages[-1]["content"].strip():
        raise DataError(f"{where} has an empty answer", expected="text to learn from")
    return Example(messages, str(row[group]) if group else prompt_digest(messages[:-1]), number)


def _ref(
    name: str, examples: list[Example], columns: tuple[str, ...], template: str, split: str
) -> DatasetRef:
    digest = sha256_json([prompt_digest(example.messages) for example in examples])
    return DatasetRef(
        name=name, data_digest=digest, rows=len(examples), columns=columns, template=template,
        split=split,
    )  # fmt: skip


def split_by_group(
    dataset: Dataset, shares: Mapping[str, float], *, seed: int
) -> dict[str, Dataset]:
    """Split into named parts of about these shares of rows, no group in two parts.

    Groups stand in a seeded order that depends on their names alone and are cut where the
    shares fall, each part getting at least one group. Raises `DataError` for too few groups.
    """
    if not shares or any(share <= 0 for share in shares.values()) or sum(shares.values()) > 1.001:
        raise DataError("the shares of a split must be positive and sum to 1", got=str(shares))
    groups: dict[str, list[Example]] = {}
    for example in dataset.examples:
        groups.setdefault(example.group, []).append(example)
    if len(groups) < len(shares):
        raise DataError(
            f"data set '{dataset.ref.name}' cannot be split",
            got=f"{len(groups)} groups",
            expected=f"at least {len(shares)}, one for each part",
        )
    order = sorted(groups, key=lambda group: (derive(seed, "split", group), group))
    parts: dict[str, Dataset] = {}
    total, start, reached = len(dataset.examples), 0, 0.0
    for position, (part, share) in enumerate(shares.items()):
        reached += share * total
        later = len(shares) - position - 1
        taken: list[Example] = []
        done = sum(found.ref.rows for found in parts.values())
        while start < len(order) - later and (not taken or done + len(taken) < reached - 1e-9):
            taken += groups[order[start]]
            start += 1
        taken.sort(key=lambda example: example.row)
        ref = dataset.ref
        parts[part] = Dataset(_ref(ref.name, taken, ref.columns, ref.template, part), tuple(taken))
    return parts


def check_lengths(
    dataset: Dataset, count_tokens: Callable[[Messages], int], max_tokens: int
) -> tuple[Dataset, int]:
    """The rows that fit `max_tokens`, and how many do not; none that fits is a `DataError`."""
    fitting = [e for e in dataset.examples if count_tokens(e.messages) <= max_tokens]
    dropped = len(dataset.examples) - len(fitting)
    if not fitting:
        raise DataError(
            f"all {dropped} rows of '{dataset.ref.name}' are longer than the model's context",
            expected=f"at most {max_tokens} tokens",
            next_step="shorten the rows or use a model with a longer context",
        )
    ref = dataset.ref
    kept = _ref(ref.name, fitting, ref.columns, ref.template, ref.split)
    return Dataset(kept, tuple(fitting), dataset.duplicates), dropped
