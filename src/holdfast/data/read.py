"""Files to rows: JSON Lines, JSON and CSV, bounded, with faults named by line."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from holdfast.core.errors import DataError
from holdfast.core.files import read_jsonl

MAX_BYTES = 2 << 30
"""Largest file that is read into memory: 2 GiB."""
MAX_FIELD = 1 << 24
"""Longest CSV field: 16 Mi characters (a published set holds contexts of several thousand)."""


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All rows of a .jsonl, .json (a list of objects), .csv or .tsv file.

    Raises `DataError` when the file is missing, too large, empty, or of another format.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist", next_step="check the path")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise DataError(
            f"{path} is too large", got=f"{size} bytes", expected=f"at most {MAX_BYTES} bytes"
        )
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        rows = read_jsonl(path)
    elif suffix == ".json":
        rows = _read_json(path)
    elif suffix in (".csv", ".tsv"):
        rows = _read_csv(path, "\t" if suffix == ".tsv" else ",")
    else:
        raise DataError(
            f"{path} has a format that is not read",
            got=f"'{suffix}'",
            expected=".jsonl, .json, .csv or .tsv",
            next_step="convert it to JSON Lines",
        )
    if not rows:
        raise DataError(f"{path} holds no rows", expected="at least one row")
    return rows


def _read_json(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is not JSON", expected="a list of objects") from error
    except RecursionError as error:
        raise DataError(f"{path} is nested too deeply", expected="a list of objects") from error
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise DataError(f"{path} is no list of objects", expected="a list of objects")
    return content


def _read_csv(path: Path, delimiter: str) -> list[dict[str, Any]]:
    csv.field_size_limit(MAX_FIELD)
    rows: list[dict[str, Any]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, delimiter=delimiter)
            for row in reader:
                # A surplus field lands under None, a lacking one holds None.
                if None in row or None in row.values():
                    raise DataError(
                        f"{path}, line {reader.line_num} has another number of fields",
                        expected=f"{len(reader.fieldnames or ())} fields as in the header",
                    )
                rows.append(dict(row))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not readable as CSV ({error})", expected="UTF-8 CSV") from error
    return rows


def require_columns(path: Path, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    """Raise a `DataError` that names the first row and every column that it lacks."""
    for number, row in enumerate(rows, 1):
        missing = [column for column in columns if column not in row]
        if missing:
            raise DataError(
                f"{path}, row {number} lacks {', '.join(missing)}",
                got=", ".join(sorted(map(str, row)))[:200] or "no columns",
                expected=", ".join(columns),
            )
