"""From a spec to a suite: generated suites, published files, a user's own rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from holdfast.core.config import Config
from holdfast.core.digest import sha256_file
from holdfast.core.errors import DataError, UsageError
from holdfast.core.labels import SCORED_KINDS, SUITE_KINDS
from holdfast.core.registry import Registry, nearest
from holdfast.data.read import read_rows
from holdfast.evals.suites.base import Suite
from holdfast.evals.suites.own import default_judge, load_described, parse_rows
from holdfast.evals.suites.published import BY_FILE, GROUPS, PUBLISHED, detect
from holdfast.evals.suites.sources import check, files_of, locate

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
WRITTEN = Registry(
    "suite",
    {
        "sycophancy": "holdfast.evals.probes.sycophancy.prompts:suite",
        "stance": "holdfast.evals.probes.stance.prompts:suite",
        "companionship": "holdfast.evals.probes.companionship.prompts:suite",
        "tools": "holdfast.evals.probes.tools.prompts:calls",
        "tools-harmful": "holdfast.evals.probes.tools.prompts:harmful",
        "tools-injection": "holdfast.evals.probes.tools.prompts:injections",
        "harbor-tools": "holdfast.evals.probes.tools.harbor:suite",
        "eras": "holdfast.evals.probes.eras.prompts:suite",
        "personas": "holdfast.evals.probes.personas.prompts:suite",
        "instructions": "holdfast.evals.probes.instruction_following.prompts:suite",
    },
)
"""Suites that Holdfast or a plug-in writes: name -> function of `SuiteOptions` that gives one."""
GENERAL = frozenset({"rules", "harbor"})
"""Judges that read refusals of any suite, so that a plan's usual judge may take their place."""
OVERSIGHT = "oversight"
"""`oversight:SPEC` asks every prompt of another suite under four framings."""


class SuiteOptions(Config):
    """How to load a suite."""

    name: str = ""
    """Name to give it; default: its own, or the file's stem."""
    kind: str = ""
    """Kind of a user's rows (required for them); not for suites that know their kind."""
    judge: str = ""
    """Judge that reads it in place of the suite's own; scored kinds need none."""
    usual_judge: str = ""
    """Judge that stands in for those of `GENERAL`; suites with a judge of their own keep it."""
    n: int = Field(default=DEFAULT_N, ge=1)
    """Prompts of a generated suite."""
    seed: int = 0
    """Seed of a generated suite."""
    split: Literal["validation", "test"] = "test"
    """Split of a generated suite."""


class CatalogueEntry(NamedTuple):
    """One line of `holdfast suites list`."""

    name: str
    kind: str
    size: str
    """Number of prompts, or how many can be generated."""
    licence: str
    judge: str
    measures: str
    origin: str
    """Where to get it; empty for what ships."""


def catalogue() -> list[CatalogueEntry]:
    """Every named suite."""
    ours = [
        CatalogueEntry(name, kind, "generated", "Apache-2.0", "harbor", what, "")
        for name, (kind, what) in HARBOR.items()
    ]
    held = "held-out rows of a fine-tuning set"
    ours.append(
        CatalogueEntry(f"{TASK_PREFIX}NAME", "task", "generated", "Apache-2.0", "harbor", held, "")
    )
    for name in WRITTEN.names():
        suite = load(name)
        ours.append(
            CatalogueEntry(
                name, suite.kind, str(len(suite.prompts)), suite.licence, suite.judge,
                suite.measures, "",
            )
        )  # fmt: skip
    framed = "compliance when watched and when not, with a placebo; see holdfast deception"
    ours.append(
        CatalogueEntry(f"{OVERSIGHT}:SPEC", "as SPEC", "4 x SPEC", "as SPEC", "as SPEC", framed, "")
    )
    public = [
        CatalogueEntry(f"{n}:PATH", e.kind, str(e.size), e.licence, e.judge, e.measures, e.origin)
        for n, e in PUBLISHED.items()
    ]
    own = CatalogueEntry(
        "PATH.yaml, PATH.jsonl", "any", "yours", "yours", "any",
        "your own rows with prompt or messages; YAML states the kind", "holdfast init --domain",
    )  # fmt: skip
    return [*ours, *public, own]


def load_all(
    specs: Sequence[str], options: Mapping[str, SuiteOptions] | None = None
) -> list[Suite]:
    """Load several specs; a file or folder with several suites (`xstest`) gives all of them.

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
    if path and prefix in BY_FILE and Path(path).is_dir():
        files = files_of(Path(path), PUBLISHED[prefix].suffixes)
        return [f"{prefix}:{file}" for file in files]
    if Path(spec).suffix.lower() == ".csv" and Path(spec).is_file():
        found = detect(Path(spec))
        if len(found) > 1:
            return [f"{name}:{spec}" for name in found]
    return [spec]


def load(spec: str | Path, *, options: SuiteOptions | None = None) -> Suite:
    """Load one suite by spec (see the package docstring)."""
    chosen = options or SuiteOptions()
    return _judged(_load(str(spec), chosen), chosen)


def _load(text: str, chosen: SuiteOptions) -> Suite:
    prefix, _, rest = text.partition(":")
    if rest and prefix == OVERSIGHT:
        from holdfast.evals.probes.oversight.framings import framed

        return framed(load(rest, options=chosen))
    if rest and prefix in PUBLISHED:
        return _published(text, prefix, rest, chosen)
    if rest and prefix in GROUPS:
        raise UsageError(f"'{text}' holds several suites", next_step=_choose(GROUPS[prefix], rest))
    if text in HARBOR or text.startswith(TASK_PREFIX):
        return _harbor(text, chosen)
    path = Path(text)
    if path.is_file():
        return _from_file(path, chosen)
    if path.suffix:
        raise DataError(f"suite file {path} does not exist", next_step="check the path")
    if text in WRITTEN.targets():
        written: Suite = WRITTEN.load(text)(chosen)
        return written
    known = [*HARBOR, *PUBLISHED, *GROUPS, *WRITTEN.names()]
    if text in PUBLISHED or text in GROUPS:
        origin = PUBLISHED[GROUPS.get(text, (text,))[0]].origin
        raise UsageError(f"'{text}' is not shipped; get it from {origin}", next_step=f"{text}:PATH")
    raise UsageError(f"unknown suite '{text}'", next_step=nearest(text, known))


def _judged(suite: Suite, options: SuiteOptions) -> Suite:
    """`suite` with the judge that the options ask for."""
    if suite.kind in SCORED_KINDS:
        return suite
    usual = options.usual_judge if suite.judge in GENERAL else ""
    return replace(suite, judge=options.judge or usual or suite.judge)


def _choose(names: Iterable[str], path: str) -> str:
    return "choose " + " or ".join(f"{name}:{path}" for name in names)


def _published(spec: str, name: str, place: str, options: SuiteOptions) -> Suite:
    entry = PUBLISHED[name]
    source = locate(place)
    files = files_of(source.path, entry.suffixes)
    title = (name, entry.measures)
    if entry.title is not None:
        if len(files) > 1:
            raise UsageError(f"'{spec}' holds several suites", next_step="name one of its files")
        title = entry.title(files[0])
    digest = check(spec, entry.digests or name, files, source)
    return Suite(
        options.name or title[0], entry.kind, entry.read(files), entry.judge, entry.licence,
        title[1], digest,
    )  # fmt: skip


def _harbor(name: str, options: SuiteOptions) -> Suite:
    from holdfast.organisms.harbor import suites

    rows: Any = suites.suite(name, n=options.n, seed=options.seed, split=options.split)
    kind, measures = HARBOR.get(name, ("task", f"does the held-out rows of {name[5:]}"))
    return Suite(
        options.name or name, kind, parse_rows(rows, name), "harbor", "Apache-2.0", measures
    )  # fmt: skip


def _from_file(path: Path, options: SuiteOptions) -> Suite:
    if path.suffix.lower() in (".yaml", ".yml"):
        return load_described(path)
    if path.suffix.lower() == ".csv":
        found = detect(path)
        if len(found) > 1:
            raise UsageError(f"{path} holds several suites", next_step=_choose(found, str(path)))
        if found:
            return _published(f"{found[0]}:{path}", found[0], str(path), options)
    if not options.kind:
        raise UsageError(
            f"the kind of suite {path} is not given",
            expected="one of " + ", ".join(SUITE_KINDS),
            next_step="state it as 'kind', or describe the suite in a YAML file",
        )
    return Suite(
        options.name or path.stem, options.kind, parse_rows(read_rows(path), str(path)),
        default_judge(options.kind), "as the user's file says",
        "as the user's file says", sha256_file(path),
    )  # fmt: skip
