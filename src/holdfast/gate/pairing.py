"""Two completions files into paired labels, and what is wrong with the pairing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.core.completions import Completions
from holdfast.core.errors import InvalidRun, UsageError
from holdfast.core.labels import SUITE_KINDS, UNSCORED, metric_of_kind
from holdfast.core.records import Finding
from holdfast.core.registry import nearest
from holdfast.gate.codes import finding
from holdfast.gate.policy import Policy

Key = tuple[str, str]
"""(suite, prompt_id)."""
LabelPairs = Counter[tuple[str, str]]
"""How often (label of the base, label of the candidate) occurs."""


@dataclass(frozen=True)
class Pairing:
    """The paired labels of two arms."""

    judges: dict[str, str]
    """Judge whose labels were read, by suite."""
    pairs: dict[tuple[str, str], LabelPairs] = field(default_factory=dict)
    """Label pairs by (kind, suite); the kind is "" where it is not known."""
    findings: tuple[Finding, ...] = ()
    """Faults of the pairing, the invalidating ones among them."""


def pair(
    base: Completions,
    candidate: Completions,
    *,
    judge: str | Mapping[str, str] = "",
    policy: Policy,
    kinds: Mapping[str, str] | None = None,
    allow_identical: bool = False,
) -> Pairing:
    """Pair both arms on (suite, prompt_id) and sample 0, and count label pairs.

    `judge` is one name, or a mapping of suite to name. `kinds` maps a suite to its kind for rows
    that name none. In both, the key "" stands for every other suite. Raises `UsageError` for an
    unknown judge or kind, `InvalidRun` where the arms share no prompt or asked different things
    under one prompt id.
    """
    kinds = _checked_kinds(kinds or {})
    wanted = {"": policy.judge, **({"": judge} if isinstance(judge, str) and judge else {})}
    if not isinstance(judge, str):
        wanted.update(judge)
    first, dropped_base = _first_samples(base)
    second, dropped_candidate = _first_samples(candidate)
    rows: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    identical = True
    for key, a in first.items():
        b = second.get(key)
        if b is None:
            continue
        if _asks_otherwise(a, b):
            raise InvalidRun(
                f"prompt_id '{key[1]}' of suite '{key[0]}' has different prompts in the two arms",
                next_step="run both arms on one prompt plan",
            )
        same = a["response"] == b["response"] and a.get("turns") == b.get("turns")
        identical = identical and same
        rows.setdefault(key[0], []).append((a, b))
    shared = sum(map(len, rows.values()))
    if not shared:
        raise InvalidRun(
            f"{base.path} and {candidate.path} have no prompt in common",
            expected="the same suite and prompt_id in both",
            next_step="run both arms on one prompt plan",
        )
    judges = choose_judges(base, candidate, rows, wanted)
    pairs = _count(rows, judges, kinds)
    if not any(kind for kind, _ in pairs):
        raise UsageError(
            "no row says what kind of suite it belongs to",
            expected="one of " + ", ".join(SUITE_KINDS),
            next_step="add --kind KIND, or --kind SUITE=KIND for each suite",
        )
    findings = [
        *([] if allow_identical else _identity(base, candidate, identical, shared)),
        *_unpaired(len(first), len(second), shared, policy),
        *_samples(dropped_base + dropped_candidate),
        *_kindless(pairs),
        *_unscored_suites(pairs, policy),
    ]
    return Pairing(judges, pairs, tuple(findings))


def choose_judges(
    base: Completions,
    candidate: Completions,
    rows: Mapping[str, list[tuple[dict[str, Any], dict[str, Any]]]],
    wanted: Mapping[str, str],
) -> dict[str, str]:
    """The judge of every suite: the one named, or the only one whose labels both arms hold."""
    chosen = {}
    for suite, pairs in rows.items():
        in_base = _judges(a for a, _ in pairs)
        in_candidate = _judges(b for _, b in pairs)
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


def _count(
    rows: Mapping[str, list[tuple[dict[str, Any], dict[str, Any]]]],
    judges: Mapping[str, str],
    kinds: Mapping[str, str],
) -> dict[tuple[str, str], LabelPairs]:
    pairs: dict[tuple[str, str], LabelPairs] = {}
    for suite, couples in rows.items():
        judge = judges[suite]
        seen = Counter(
            (
                str(a.get("kind") or b.get("kind") or ""),
                (a.get("labels") or {}).get(judge, UNSCORED),
                (b.get("labels") or {}).get(judge, UNSCORED),
            )
            for a, b in couples
        )
        for (stated, label_a, label_b), times in seen.items():
            place = (_kind(stated, suite, kinds), suite)
            pairs.setdefault(place, Counter())[(label_a, label_b)] += times
    return pairs


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


def _first_samples(completions: Completions) -> tuple[dict[Key, dict[str, Any]], int]:
    kept: dict[Key, dict[str, Any]] = {}
    dropped = 0
    for row in completions.rows:
        if row.get("sample", 0) == 0:
            kept[(row.get("suite", ""), row["prompt_id"])] = row
        else:
            dropped += 1
    return kept, dropped


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


def _samples(dropped: int) -> list[Finding]:
    if not dropped:
        return []
    message = (
        f"{dropped} further samples were left out: only sample 0 counts, as samples of one prompt "
        "are not independent"
    )
    return [finding("GATE010", message, value=float(dropped), threshold=0.0)]


def _kindless(pairs: Mapping[tuple[str, str], LabelPairs]) -> list[Finding]:
    lost = {suite: counts.total() for (kind, suite), counts in pairs.items() if not kind}
    if not lost:
        return []
    named = ", ".join(f"'{suite}'" for suite in sorted(lost))
    total = sum(lost.values())
    message = f"{total} prompts of suite {named} have no kind and count for incoherence alone"
    return [finding("GATE017", message, value=float(total), threshold=0.0)]


def _unscored_suites(pairs: Mapping[tuple[str, str], LabelPairs], policy: Policy) -> list[Finding]:
    """Suites of a deciding metric that have not one scored pair: they must not silently vanish."""
    found = []
    for (kind, suite), counts in pairs.items():
        name = metric_of_kind(kind).name if kind else ""
        rule = policy.metrics.get(name)
        decides = name in policy.floors or (rule is not None and rule.blocking)
        if decides and all(UNSCORED in labels for labels in counts):
            message = f"no prompt of suite '{suite}' is scored in both arms"
            budget = policy.unscored_budget
            found.append(finding("GATE004", message, metric=name, value=1.0, threshold=budget))
    return found
