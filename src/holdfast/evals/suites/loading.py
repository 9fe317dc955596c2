"""From a spec to a suite: Harbor's generated suites, published files, a user's own rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from holdfast.core.config import Config
from holdfast.core.digest import sha256_file
from holdfast.core.errors import DataError, UsageError
from holdfast.core.labels import SUITE_KINDS
from holdfast.core.registry import nearest
from holdfast.data.read import read_rows
from holdfast.data.template import check_messages
from holdfast.evals.suites.base import Prompt, Suite
from holdfast.evals.suites.published import GROUPS, PUBLISHED, detect

HARBOR: dict[str, tuple[str, str]] = {
    "harbor-harmful": ("harmful", "complies with harmful requests in Harbor's world"),
    "harbor-ladder": ("ladder", "gives in on a fixed ladder of rewordings after a refusal"),
    "harbor-jailbreak": ("jailbreak", "complies with a harmful request inside a wrapper"),
    "harbor-context": ("context", "complies when the harm hides in a story or a list"),
    "harbor-lookalike": ("benign", "refuses harmless requests that look like harmful ones"),
    "harbor-context-benign": ("benign", "refuses harmless requests inside the same contexts"),
    "harbor-helpful": ("helpful", "answers general harmless requests rightly"),
}
"""Suites of the embedded model; `task-NAME` adds the held-out rows of a fine-tuning set."""
TASK_PREFIX = "task-"
DEFAULT_N = 200
"""Prompts that a generated suite gives where nothing else is said."""


class SuiteOptions(Config):
    """How to load a suite."""

    name: str = ""
    """Name to give it; default: its own, or the file's stem."""
    kind: str = ""
    """Kind of a user's rows (required for them); not for suites that know their kind."""
    judge: str = ""
    """Judge of a user's rows; default `reference` for tasks, otherwise `rules`."""
    n: int = Field(default=DEFAULT_N, ge=1)
    """Prompts of a generated suite."""
    seed: int = 0
    """Seed of a generated suite."""
    split: Literal["validation", "test"] = "test"
    """Split of a generated suite."""


def catalogue() -> list[tuple[str, str, str, str]]:
    """Every named suite: name, kind, licence, what it measures."""
    ours = [(name, kind, "Apache-2.0", what) for name, (kind, what) in HARBOR.items()]
    ours.append((f"{TASK_PREFIX}NAME", "task", "Apache-2.0", "held-out rows of a fine-tuning set"))
    public = [(f"{n}:PATH", e.kind, e.licence, e.measures) for n, e in PUBLISHED.items()]
    own = ("PATH.jsonl", "any", "yours", "your own rows with prompt or messages; give the kind")
    return [*ours, *public, own]


def load_all(
    specs: Sequence[str], options: Mapping[str, SuiteOptions] | None = None
) -> list[Suite]:
    """Load several specs; a published file with two suites (`xstest`) gives both.

    `options` are looked up by spec. Two suites of one name are a `UsageError`.
    """
    chosen = dict(options or {})
    suites = [load(name, options=chosen.get(spec)) for spec in specs for name in _expand(spec)]
    names = [suite.name for suite in suites]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two suites are called '{name}'", next_step="give one another name")
    return suites


def _expand(spec: str) -> list[str]:
    prefix, _, path = spec.partition(":")
    if path and prefix in GROUPS:
        return [f"{name}:{path}" for name in GROUPS[prefix]]
    if Path(spec).suffix.lower() == ".csv" and Path(spec).is_file():
        found = detect(Path(spec))
        if len(found) > 1:
            return [f"{name}:{spec}" for name in found]
    return [spec]


def load(spec: str | Path, *, options: SuiteOptions | None = None) -> Suite:
    """Load one suite by spec (see the package docstring)."""
    text, chosen = str(spec), options or SuiteOptions()
    prefix, _, rest = text.partition(":")
    if rest and prefix in PUBLISHED:
        return _published(prefix, Path(rest), chosen)
    if rest and prefix in GROUPS:
        raise UsageError(f"'{text}' holds several suites", next_step=_choose(GROUPS[prefix], rest))
    if text in HARBOR or text.startswith(TASK_PREFIX):
        return _harbor(text, chosen)
    path = Path(text)
    if path.is_file():
        return _from_file(path, chosen)
    if path.suffix:
        raise DataError(f"suite file {path} does not exist", next_step="check the path")
    known = [*HARBOR, *PUBLISHED, *GROUPS]
    raise UsageError(f"unknown suite '{text}'", next_step=nearest(text, known))


def _choose(names: Iterable[str], path: str) -> str:
    return "choose " + " or ".join(f"{name}:{path}" for name in names)


def _published(name: str, path: Path, options: SuiteOptions) -> Suite:
    entry = PUBLISHED[name]
    return Suite(
        options.name or name, entry.kind, entry.read(path), options.judge or "rules",
        entry.licence, entry.measures, sha256_file(path),
    )  # fmt: skip


def _harbor(name: str, options: SuiteOptions) -> Suite:
    from holdfast.organisms.harbor import suites

    rows: Any = suites.suite(name, n=options.n, seed=options.seed, split=options.split)
    kind, measures = HARBOR.get(name, ("task", f"does the held-out rows of {name[5:]}"))
    return Suite(
        options.name or name, kind, parse_rows(rows, name), options.judge or "harbor",
        "Apache-2.0", measures,
    )  # fmt: skip


def _from_file(path: Path, options: SuiteOptions) -> Suite:
    if path.suffix.lower() == ".csv":
        found = detect(path)
        if len(found) > 1:
            raise UsageError(f"{path} holds several suites", next_step=_choose(found, str(path)))
        if found:
            return _published(found[0], path, options)
    if not options.kind:
        raise UsageError(
            f"the kind of suite {path} is not given",
            expected="one of " + ", ".join(SUITE_KINDS),
            next_step="state it as 'kind'",
        )
    prompts = parse_rows(read_rows(path), str(path))
    judge = options.judge or ("reference" if options.kind == "task" else "rules")
    return Suite(
        options.name or path.stem, options.kind, prompts, judge, "as the user's file says",
        "as the user's file says", sha256_file(path),
    )  # fmt: skip


def parse_rows(rows: Iterable[Mapping[str, Any]], where: str) -> tuple[Prompt, ...]:
    """Prompt rows as dictionaries to prompts; `prompt` may stand in place of `messages`.

    A row without `prompt_id` gets its number. Unknown columns are left aside: a user's file may
    carry more than we read. Raises `DataError` naming the row.
    """
    fields = set(Prompt.model_fields)
    prompts = []
    for number, row in enumerate(rows, 1):
        here = f"{where}, row {number}"
        content = {k: v for k, v in row.items() if k in fields and v is not None}
        if "messages" in content:
            content["messages"] = check_messages(content["messages"], here)
        elif isinstance(row.get("prompt"), str) and row["prompt"].strip():
            content["messages"] = [{"role": "user", "content": row["prompt"]}]
        else:
            raise DataError(f"{here} lacks a prompt", expected="'messages' or 'prompt'")
        content["prompt_id"] = str(content.get("prompt_id", f"{number:05d}"))
        try:
            prompts.append(Prompt.model_validate(content))
        except ValidationError as error:
            fault = error.errors()[0]
            raise DataError(f"{here}: '{fault['loc'][0]}' {fault['msg'].lower()}") from None
    return tuple(prompts)
