"""`holdfast models`: seal, verify, compare, promote and roll back models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.core.errors import EXIT_FAIL, EXIT_PASS

if TYPE_CHECKING:
    from holdfast.vault.store import Entry, Vault

F = Callable[..., Any]
_KINDS = ("base", "adapter", "merged", "quantised")


def _vault_option(function: F) -> F:
    return click.option(
        "--vault",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of the vault [default: $HOLDFAST_HOME/vault, or the user's data folder].",
    )(function)


def _json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


@click.group("models")
def command() -> None:
    """Seal, verify, compare, promote and roll back models."""


@command.command("add")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", help="What to call it [default: the folder's name].")
@click.option("--kind", type=click.Choice(_KINDS), default="base", show_default=True)
@click.option("--parent", "parents", multiple=True, help="Name or digest of what it was made from.")
@click.option("--note", default="", help="A remark to keep with it.")
@_vault_option
@_json_option
def add(
    folder: Path,
    name: str | None,
    kind: Any,
    parents: tuple[str, ...],
    note: str,
    vault: Path | None,
    as_json: bool,
) -> None:
    """Seal a copy of the model in FOLDER."""
    store = _open(vault)
    ref = store.add(folder, name or folder.resolve().name, kind=kind, parents=parents, note=note)
    entry = store.get(ref.model_digest)
    _tell(_content(entry), f"sealed {ref.name}  {ref.model_digest}", as_json)


@command.command("list")
@_vault_option
@_json_option
def list_(vault: Path | None, as_json: bool) -> None:
    """List the models and what the refs name."""
    store = _open(vault)
    entries, refs = store.list(), store.refs()
    lines = [
        f"{e.ref.model_digest[:12]}  {e.ref.kind:<9}  {e.added[:19]}  {e.ref.name}{_named(e, refs)}"
        for e in entries
    ]
    content = {"models": [_content(e) for e in entries], "refs": refs}
    _tell(content, "\n".join(lines) or "the vault is empty", as_json)


@command.command("show")
@click.argument("model")
@_vault_option
@_json_option
def show(model: str, vault: Path | None, as_json: bool) -> None:
    """Show one model: its files, its lineage and the moves of the ref, if MODEL is one."""
    store = _open(vault)
    entry, moves = store.get(model), store.history(model)
    content = {**_content(entry), "history": [vars(move) for move in moves]}
    lines = [
        f"{entry.ref.name}  ({entry.ref.kind}, added {entry.added[:19]})",
        f"digest   {entry.ref.model_digest}",
        f"folder   {entry.path}",
        *(f"made of  {digest}" for digest in entry.ref.lineage),
        *(f"note     {entry.note}" for _ in [0] if entry.note),
        *(f"file     {digest[:12]}  {file}" for file, digest in entry.ref.components.items()),
        *(f"{m.time[:19]}  {m.ref} -> {m.digest[:12]}  ({m.event})" for m in moves),
    ]
    _tell(content, "\n".join(lines), as_json)


@command.command("verify")
@click.argument("model", required=False)
@_vault_option
@_json_option
def verify(model: str | None, vault: Path | None, as_json: bool) -> int:
    """Hash MODEL (default: every model) again and name each file that changed; exit 1 if any."""
    store = _open(vault)
    entries = [store.get(model)] if model else store.list()
    found = {e.ref.name: store.verify(e.ref.model_digest) for e in entries}
    lines = [f"{name}: {'; '.join(map(str, faults)) or 'intact'}" for name, faults in found.items()]
    content = {name: [vars(fault) for fault in faults] for name, faults in found.items()}
    _tell(content, "\n".join(lines) or "the vault is empty", as_json)
    return EXIT_FAIL if any(found.values()) else EXIT_PASS


@command.command("diff")
@click.argument("a")
@click.argument("b")
@_vault_option
@_json_option
def diff(a: str, b: str, vault: Path | None, as_json: bool) -> None:
    """Compare two models by file and by tensor."""
    content = vars(_open(vault).diff(a, b))
    lines = [
        f"{what.replace('_', ' '):<16} {len(names):>5}  {', '.join(names[:6])}"
        + (" …" if len(names) > 6 else "")
        for what, names in content.items()
    ]
    _tell(content, "\n".join(lines), as_json)


@command.command("promote")
@click.argument("model")
@click.option(
    "--verdict",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The gate's verdict.json on exactly this model.",
)
@click.option("--ref", default="production", show_default=True)
@_vault_option
@_json_option
def promote(model: str, verdict: Path, ref: str, vault: Path | None, as_json: bool) -> None:
    """Point a ref at MODEL, which needs a passing verdict for exactly its digest."""
    from holdfast.core.records import Verdict

    entry = _open(vault).promote(ref, model, Verdict.load(verdict))
    _tell_ref(ref, entry, as_json)


@command.command("rollback")
@click.option("--ref", default="production", show_default=True)
@_vault_option
@_json_option
def rollback(ref: str, vault: Path | None, as_json: bool) -> None:
    """Point a ref at the model that it named before."""
    _tell_ref(ref, _open(vault).rollback(ref), as_json)


def _open(root: Path | None) -> Vault:
    from holdfast.vault.store import Vault, default_root

    return Vault(root or default_root())


def _content(entry: Entry) -> dict[str, Any]:
    record = entry.ref.model_dump(mode="json")
    return {**record, "path": str(entry.path), "added": entry.added, "note": entry.note}


def _named(entry: Entry, refs: dict[str, str]) -> str:
    names = [name for name, digest in refs.items() if digest == entry.ref.model_digest]
    return f"  <- {', '.join(names)}" if names else ""


def _tell_ref(ref: str, entry: Entry, as_json: bool) -> None:
    digest = entry.ref.model_digest
    _tell(
        {"ref": ref, "digest": digest, "name": entry.ref.name},
        f"{ref} is now {entry.ref.name}  {digest}",
        as_json,
    )


def _tell(content: Any, text: str, as_json: bool) -> None:
    click.echo(json.dumps(content, indent=1, ensure_ascii=False) if as_json else text)
