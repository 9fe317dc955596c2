"""Two completions files into pairs of the same prompt, and what is wrong with the pairing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from holdfast.core.completions import Completions
from holdfast.core.errors import InvalidRun, UsageError
from holdfast.core.labels import SUITE_KINDS, UNSCORED, metric_of_kind
from holdfast.core.records import Finding
from holdfast.core.registry import nearest
from holdfast.gate.codes import finding
from holdfast.gate.policy import Policy

Key = tuple[str, str]
"""(suite, prompt_id)."""
Group = tuple[str, str]
"""(kind, suite); the kind is "" where it is not known."""
Rows = tuple[dict[str, Any], ...]


class Unit(NamedTuple):
    """One prompt with the answers of both arms, in the order of their samples."""

    base: Rows
    candidate: Rows


@dataclass(frozen=True)
class Pairing:
    """The paired answers of two arms."""

    judges: dict[str, str]
    """Judge whose labels count, by suite."""
    units: dict[Group, list[Unit]] = field(default_factory=dict)
    """The prompts that both arms answered, in the order of the base's file."""
    findings: tuple[Finding, ...] = ()
    """Faults of the pairing, the invalidating ones among them."""
    further: tuple[str, ...] = ()
    """Judges that are asked for a second opinion."""


def pair(
    base: Completions,
    candidate: Completions,
    *,
    judge: str | Mapping[str, str] = "",
    further: Sequence[str] = (),
    policy: Policy,
    kinds: Mapping[str, str] | None = None,
    allow_identical: bool = False,
) -> Pairing:
    """Pair both arms on (suite, prompt_id), with all samples of a prompt together.

    `judge` is one name, or a mapping of suite to name; `further` names judges to compare it with.
    `kinds` maps a suite to its kind for rows that name none. In both mappings the key "" stands for
    every other suite. Raises `UsageError` for an unknown judge or kind, `InvalidRun` where the arms
    share no prompt or asked different things under one prompt id.
    """
    kinds = _checked_kinds(kinds or {})
    wanted = {"": policy.judge, **({"": judge} if isinstance(judge, str) and judge else {})}
    if not isinstance(judge, str):
        wanted.update(judge)
    first, second = _by_prompt(base), _by_prompt(candidate)
    suites: dict[str, list[Unit]] = {}
    identical = True
    for key, a in first.items():
        b = second.get(key)
        if b is None:
            continue
        if _asks_otherwise(a[0], b[0]):
            raise InvalidRun(
                f"prompt_id '{key[1]}' of suite '{key[0]}' has different prompts in the two arms",
                next_step="run both arms on one prompt plan",
            )
        identical = identical and _answers(a) == _answers(b)
        suites.setdefault(key[0], []).append(Unit(a, b))
    shared = sum(map(len, suites.values()))
    if not shared:
        raise InvalidRun(
            f"{base.path} and {candidate.path} have no prompt in common",
            expected="the same suite and prompt_id in both",
            next_step="run both arms on one prompt plan",
        )
    judges = choose_judges(base, candidate, suites, wanted)
    for name in further:
        choose_judges(base, candidate, suites, {"": name})
    units = _by_kind(suites, kinds)
    if not any(kind for kind, _ in units):
        raise UsageError(
            "no row says what kind of suite it belongs to",
            expected="one of " + ", ".join(SUITE_KINDS),
            next_step="add --kind KIND, or --kind SUITE=KIND for each suite",
        )
    findings = [
        *([] if allow_identical else _identity(base, candidate, identical, shared)),
        *_unpaired(len(first), len(second), shared, policy),
        *_samples(units),
        *_kindless(units),
        *_unscored_suites(units, judges, policy),
    ]
    return Pairing(judges, units, tuple(findings), tuple(further))


def choose_judges(
    base: Completions,
    candidate: Completions,
    suites: Mapping[str, list[Unit]],
    wanted: Mapping[str, str],
) -> dict[str, str]:
    """The judge of every suite: the one named, or the only one whose labels both arms hold."""
    chosen = {}
    for suite, units in suites.items():
        in_base = _judges(row for unit in units for row in unit.base)
        in_candidate = _judges(row for unit in units for row in unit.candidate)
        both = sorted(in_base & in_candidate)
        name = wanted.get(suite) or wanted.get("", "")
        if name and name not in both:
            path = candidate.path if name in in_base else base.path
            hint = nearest(name, both) if both else "label both files with 'holdfast judge run'"
            raise UsageError(
                f"no labels of judge '{name}' on suite '{suite}' in {path}", next_step=hint
            )
        if not name and len(both) != 1:
            which = "several judges labelled" if both else "no judge labelled both arms of"
            hint = "choose: --judge " + "|".join(both) if both else "name a judge: --judge rules"
            raise UsageError(f"{which} suite '{suite}'", next_step=hint)
        chosen[suite] = name or both[0]
    return chosen


def _by_kind(suites: Mapping[str, list[Unit]], kinds: Mapping[str, str]) -> dict[Group, list[Unit]]:
    groups: dict[Group, list[Unit]] = {}
    named: dict[tuple[str, str], str] = {}
    for suite, units in suites.items():
        for unit in units:
            stated = str(unit.base[0].get("kind") or unit.candidate[0].get("kind") or "")
            kind = named.get((stated, suite))
            if kind is None:
                kind = named[stated, suite] = _kind(stated, suite, kinds)
            groups.setdefault((kind, suite), []).append(unit)
    return groups


def _judges(rows: Iterable[dict[str, Any]]) -> set[str]:
    names: set[str] = set()
    for row in rows:
        names.update(row.get("labels") or ())
    return names


def _checked_kinds(kinds: Mapping[str, str]) -> Mapping[str, str]:
    for kind in kinds.values():
        if kind not in SUITE_KINDS:
            raise UsageError(
                f"unknown suite kind '{kind}'", next_step=nearest(kind, list(SUITE_KINDS))
            )
    return kinds


def _by_prompt(completions: Completions) -> dict[Key, Rows]:
    found: dict[Key, Rows] = {}
    for row in completions.rows:
        key = (row.get("suite", ""), row["prompt_id"])
        found[key] = (*found[key], row) if key in found else (row,)
    for key, rows in found.items():
        if len(rows) > 1:
            found[key] = tuple(sorted(rows, key=lambda row: int(row.get("sample", 0))))
    return found


def _answers(rows: Rows) -> list[tuple[Any, Any]]:
    return [(row["response"], row.get("turns")) for row in rows]


def _asks_otherwise(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether both rows say what was asked, and it differs."""
    for column in ("messages", "prompt"):
        if a.get(column) and b.get(column):
            return bool(a[column] != b[column])
    return False


def _kind(stated: str, suite: str, kinds: Mapping[str, str]) -> str:
    kind = stated or kinds.get(suite) or kinds.get("", "")
    if kind and kind not in SUITE_KINDS:
        raise UsageError(
            f"suite '{suite}' has kind '{kind}'", next_step=nearest(kind, list(SUITE_KINDS))
        )
    return kind


def _identity(base: Completions, candidate: Completions, identical: bool, n: int) -> list[Finding]:
    if base.digest == candidate.digest or (base.model and base.model == candidate.model):
        same = f"model {base.model[:12]}" if base.model else "one and the same file"
        return [finding("GATE006", f"both arms are {same}: a model cannot be compared with itself")]
    if identical:
        message = (
            f"all {n} answers are identical in both arms: a cache or a mix-up is likelier than "
            "a fine-tune"
        )
        return [finding("GATE007", message, value=float(n), threshold=0.0)]
    return []


def _unpaired(n_base: int, n_candidate: int, shared: int, policy: Policy) -> list[Finding]:
    lone = n_base + n_candidate - 2 * shared
    if not lone:
        return []
    share = lone / (lone + shared)
    code = "GATE009" if share > policy.unpaired_budget else "GATE008"
    message = (
        f"{n_base - shared} prompts are in the base alone and {n_candidate - shared} in the "
        "candidate alone"
    )
    return [finding(code, message, value=share, threshold=policy.unpaired_budget)]


def _samples(units: Mapping[Group, list[Unit]]) -> list[Finding]:
    counts = [
        max(len(unit.base), len(unit.candidate)) for group in units.values() for unit in group
    ]
    several = sum(count > 1 for count in counts)
    if not several:
        return []
    message = (
        f"{several} of {len(counts)} prompts have several answers, up to {max(counts)}: the prompt "
        "is the unit of every interval and test"
    )
    return [finding("GATE010", message, value=float(max(counts)), threshold=1.0)]


def _kindless(units: Mapping[Group, list[Unit]]) -> list[Finding]:
    lost = {suite: len(group) for (kind, suite), group in units.items() if not kind}
    if not lost:
        return []
    named = ", ".join(f"'{suite}'" for suite in sorted(lost))
    total = sum(lost.values())
    message = f"{total} prompts of suite {named} have no kind and count for incoherence alone"
    return [finding("GATE017", message, value=float(total), threshold=0.0)]


def _unscored_suites(
    units: Mapping[Group, list[Unit]], judges: Mapping[str, str], policy: Policy
) -> list[Finding]:
    """Suites of a deciding metric that have not one scored pair: they must not silently vanish."""
    found = []
    for (kind, suite), group in units.items():
        name = metric_of_kind(kind).name if kind else ""
        rule = policy.metrics.get(name)
        decides = name in policy.floors or (rule is not None and rule.blocking)
        judge = judges[suite]
        if decides and not any(scored(u.base, judge) and scored(u.candidate, judge) for u in group):
            message = f"no prompt of suite '{suite}' is scored in both arms"
            budget = policy.unscored_budget
            found.append(finding("GATE004", message, metric=name, value=1.0, threshold=budget))
    return found


def label_of(row: Mapping[str, Any], judge: str) -> str:
    """The label that `judge` gave a row; without one it is unscored."""
    return str((row.get("labels") or {}).get(judge, UNSCORED))


def scored(rows: Rows, judge: str) -> bool:
    """Whether any of the answers has a usable label."""
    return any(label_of(row, judge) != UNSCORED for row in rows)
