"""Progress on long work: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

import click

from holdfast.core.protocols import Progress

_QUIET_SECONDS = 15.0
"""Without a terminal, one line per piece of work and at most one more every so many seconds."""


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """A `Progress` callback that shows `title` and the piece of work that is under way."""
    if sys.stderr.isatty():
        with _bar(title) as callback:
            yield callback
    else:
        yield _lines()


@contextlib.contextmanager
def _bar(title: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def callback(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        yield callback


def _lines() -> Progress:
    current, spoke = "", 0.0

    def callback(what: str, done: int, total: int) -> None:
        nonlocal current, spoke
        now = time.monotonic()
        if what == current and now - spoke < _QUIET_SECONDS:
            return
        share = f" {done}/{total}" if what == current and total else ""
        current, spoke = what, now
        click.echo(f"  {what}{share}", err=True)

    return callback
