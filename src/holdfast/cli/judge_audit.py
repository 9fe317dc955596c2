"""`holdfast judge audit`: draw the answers that a human should label, and take the labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.arms import by_suite, read_arms
from holdfast.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from holdfast.core.completions import Completions

_FILE = click.Path(path_type=Path)
_COLUMNS = ("item", "prompt", "answer", "label")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a spreadsheet run a cell."""


@click.command("audit")
@click.option("--base", type=_FILE, required=True, help="Completions of the base (JSONL).")
@click.option("--candidate", type=_FILE, required=True, help="Completions of the candidate.")
@click.option("--judge", "judges", multiple=True, metavar="[SUITE=]NAME", help="Judge to audit.")
@click.option("--kind", "kinds", multiple=True, metavar="[SUITE=]KIND", help="Kind of suite.")
@click.option("--prompts", type=click.IntRange(min=1), default=150, show_default=True,
              help="Prompts to label; each has one answer in either arm.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the draw.")
@click.option("--draw", type=_FILE, help="Write the sheet to fill in here (CSV).")
@click.option("--labels", type=_FILE, help="Read a filled-in sheet (CSV).")
@click.option("--ask", is_flag=True, help="Ask for the labels here, one answer at a time.")
@click.option("--out", type=_FILE, help="Write the audit for --audit here (JSONL).")
def command(
    base: Path,
    candidate: Path,
    judges: tuple[str, ...],
    kinds: tuple[str, ...],
    prompts: int,
    seed: int,
    draw: Path | None,
    labels: Path | None,
    ask: bool,
    out: Path | None,
) -> None:
    """Audit a judge: human labels for a sample of both arms.

    One of three: --draw SHEET writes a CSV to fill in; --labels SHEET --out FILE turns the filled
    sheet into an audit; --ask --out FILE asks here and can be stopped and continued. The sample is
    the same prompts in both arms, stratified by suite and by the judge's pair of labels; arm and
    judge's label are hidden from whoever labels. Leave out what cannot be told.
    """
    if sum((draw is not None, labels is not None, ask)) != 1 or (draw is None) != (out is not None):
        raise UsageError(
            "judge audit",
            expected="--draw SHEET, or --labels SHEET --out FILE, or --ask --out FILE",
        )
    named = by_suite("--judge", judges)
    first, second = read_arms(base, [candidate], named, by_suite("--kind", kinds))
    items = _items(first, second, named, by_suite("--kind", kinds), prompts, seed)
    if draw is not None:
        _write_sheet(draw, items)
        click.echo(f"{len(items)} answers to {len(items) // 2} prompts in {draw}.")
        return
    if out is not None:
        count = _take(labels, _all_items(first, second), out) if labels else _ask(items, out)
        click.echo(f"{count} labels in {out}.")


def _items(
    first: Completions,
    second: Completions,
    judges: Mapping[str, str],
    kinds: Mapping[str, str],
    prompts: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Audit rows of the drawn answers by item, in an order that says nothing about the arm."""
    from holdfast.gate.audit import draw
    from holdfast.gate.pairing import pair
    from holdfast.gate.policy import load

    pairing = pair(first, second, judge=judges, policy=load(), kinds=kinds, allow_identical=True)
    found = {}
    for unit in draw(pairing, prompts, seed=seed):
        both = {
            _item("base", unit.base[0]): ("base", unit.base[0]),
            _item("candidate", unit.candidate[0]): ("candidate", unit.candidate[0]),
        }
        for item in sorted(both):
            found[item] = _row(*both[item])
    return found


def _all_items(first: Completions, second: Completions) -> dict[str, dict[str, Any]]:
    arms = {"base": first, "candidate": second}
    return {_item(arm, row): _row(arm, row) for arm, c in arms.items() for row in c.rows}


def _item(arm: str, row: Mapping[str, Any]) -> str:
    """A name for an answer that does not show its arm."""
    from holdfast.core.digest import sha256_json

    key = [arm, row.get("suite", ""), row["prompt_id"], row.get("sample", 0), row["response"]]
    return sha256_json(key)[:12]


def _row(arm: str, row: Mapping[str, Any]) -> dict[str, Any]:
    from holdfast.gate.audit import answer_digest

    messages = row.get("messages") or [{"role": "user", "content": str(row.get("prompt", ""))}]
    asked = "\n\n".join(f"{m.get('role', '')}: {m.get('content', '')}" for m in messages)
    return {
        "arm": arm, "suite": row.get("suite", ""), "prompt_id": row["prompt_id"],
        "sample": row.get("sample", 0), "answer": answer_digest(row),
        "asked": asked, "said": row["response"],
    }  # fmt: skip


def _write_sheet(path: Path, items: Mapping[str, Mapping[str, Any]]) -> None:
    from holdfast.core.files import write_text

    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for item, row in items.items():
        writer.writerow([item, _cell(row["asked"]), _cell(row["said"]), ""])
    write_text(path, text.getvalue())


def _cell(text: str) -> str:
    """Text that no spreadsheet runs, without lone surrogates or NUL."""
    safe = text.encode("utf-8", "replace").decode().replace("\x00", " ")
    return "'" + safe if safe.startswith(_FORMULA) else safe


def _take(sheet: Path, items: Mapping[str, Mapping[str, Any]], out: Path) -> int:
    from holdfast.core.files import write_jsonl
    from holdfast.gate.audit import SCHEME, read_rows

    taken: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(read_rows(sheet), 1):
        item, label = str(row.get("item") or ""), str(row.get("label") or "").strip()
        if not label:
            continue
        if item not in items:
            raise DataError(f"{sheet}, row {number}: unknown item '{item:.60}'",
                            next_step="name the files that the sheet was drawn from")  # fmt: skip
        if label not in SCHEME:
            raise DataError(f"{sheet}, row {number}: label '{label:.60}'",
                            expected="nothing, or one of " + ", ".join(SCHEME))  # fmt: skip
        if item in taken:
            raise DataError(f"{sheet}, row {number} repeats item '{item}'")
        taken[item] = _labelled(items[item], label)
    if not taken:
        raise DataError(f"{sheet} holds no labels", next_step="fill in the column 'label'")
    write_jsonl(out, taken.values())
    return len(taken)


def _labelled(row: Mapping[str, Any], label: str) -> dict[str, Any]:
    kept = {key: row[key] for key in ("arm", "suite", "prompt_id", "sample", "answer")}
    return {**kept, "label": label}


def _ask(items: Mapping[str, Mapping[str, Any]], out: Path) -> int:
    """Ask for one label after another; every answer is on disk before the next question."""
    from holdfast.core.files import read_jsonl, write_jsonl
    from holdfast.gate.audit import SCHEME
    from holdfast.gate.words import one_line

    keys = {label[0]: label for label in SCHEME}
    rows = read_jsonl(out) if out.is_file() else []
    done = {(row.get("arm"), row.get("suite"), row.get("prompt_id")) for row in rows}
    left = [r for r in items.values() if (r["arm"], r["suite"], r["prompt_id"]) not in done]
    choices = ", ".join(f"{key} {label}" for key, label in keys.items())
    for number, row in enumerate(left, 1):
        click.echo(f"\n--- {number} of {len(left)} ---")
        for line in (*row["asked"].splitlines(), "answer:", *row["said"].splitlines()):
            click.echo("  " + one_line(line))
        said = _choose(f"{choices}, k skip, q stop", [*keys, "k", "q"])
        if said == "q":
            break
        if said != "k":
            rows.append(_labelled(row, keys[said]))
            write_jsonl(out, rows)
    return len(rows)


def _choose(question: str, allowed: Sequence[str]) -> str:
    return str(click.prompt(question, type=click.Choice(list(allowed)), show_choices=False))
