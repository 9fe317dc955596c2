"""False passes of the gate at its margin: plain, clustered, unbalanced, small, audited, looked at.

    python bench/coverage.py [--gates 10000] [--only SECTION]

Every gate has a true worsening of exactly the margin, so that every pass is false. With one answer
per prompt the chance of a pass is summed over all outcomes; the rest is simulated. The bar: false
passes <= alpha + 2 standard errors of the simulation (of 2,000 gates, where exact). Prints the
tables of docs/results/statistics.md and ends with exit code 1 where the bar is missed.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlogy

from holdfast.core.completions import Completions
from holdfast.core.records import Outcome, PairedTable
from holdfast.gate.audit import allocate
from holdfast.gate.decide import evaluate
from holdfast.gate.policy import Policy
from holdfast.stats import audited, clustered, paired, sequential
from holdfast.stats.intervals import wilson
from holdfast.stats.multiplicity import holm

ALPHA, MARGIN, SEED = 0.05, 0.05, 2026
Floats = NDArray[np.float64]
Generator = np.random.Generator


class Row(NamedTuple):
    """One scenario and how often it passed."""

    scenario: str
    gates: int
    """Simulated gates; 0 where the share is exact."""
    passes: float
    """Passes, or the exact chance of one."""


@cache
def plain_p(gain: int, loss: int, n: int) -> float:
    """The gate's p-value from counts."""
    return paired.noninferiority(_table(gain, loss, n), MARGIN, 1)


@cache
def tango_p(gain: int, loss: int, n: int) -> float:
    """The score test alone, for comparison."""
    return paired.tango_test(_table(gain, loss, n), MARGIN, 1)


def _table(gain: int, loss: int, n: int) -> PairedTable:
    return PairedTable(both=0, base_only=loss, candidate_only=gain, neither=n - gain - loss)


def exact(test: Callable[..., float], rng: Generator, gates: int, worsening: float) -> list[Row]:
    """One answer per prompt: the chance of a pass, summed over every possible pair of counts."""
    rows = []
    for n in (30, 60, 88, 120, 200, 300):
        gain, loss = np.array([(b, c) for b in range(n + 1) for c in range(n + 1 - b)]).T
        ways = gammaln(n + 1) - gammaln(gain + 1) - gammaln(loss + 1) - gammaln(n - gain - loss + 1)
        near = gain - loss < MARGIN * n
        passed = np.zeros(len(gain), bool)
        passed[near] = [test(b, c, n) < ALPHA for b, c in zip(gain[near], loss[near], strict=True)]
        for share in (0.0, 0.01, 0.05, 0.2):
            chance = np.exp(
                ways + xlogy(gain, worsening + share) + xlogy(loss, share)
                + xlogy(n - gain - loss, 1.0 - worsening - 2.0 * share)
            )  # fmt: skip
            rows.append(Row(f"{n} prompts, {100 * share:.0f} % also improve", 0,
                            float(chance[passed].sum())))  # fmt: skip
    return rows


Law = Callable[[Generator, int, float], tuple[Floats, Floats]]
"""(rates of the base, rates of the candidate) of n prompts with a mean worsening."""


def smooth(rng: Generator, n: int, worsening: float) -> tuple[Floats, Floats]:
    """Rates differ between prompts (Beta(0.4, 1.6)) and rise on every one of them."""
    base = rng.beta(0.4, 1.6, n)
    return base, base + worsening * (1.0 - base) / 0.8


def flips(rng: Generator, n: int, worsening: float) -> tuple[Floats, Floats]:
    """A few prompts turn round entirely; nothing happens on the others."""
    return np.zeros(n), (rng.random(n) < worsening).astype(float)


def mixed(rng: Generator, n: int, worsening: float) -> tuple[Floats, Floats]:
    """A few prompts turn round, among noise that hides how few they are."""
    base = np.full(n, 0.1)
    return base, np.where(rng.random(n) < worsening / 0.9, 1.0, base)


LAWS: dict[str, Law] = {"smooth": smooth, "flips": flips, "mixed": mixed}


def differences(
    rng: Generator, law: Law, n: int, samples: tuple[int, int], worsening: float, unbalanced: bool
) -> Counter[float]:
    """Differences of n prompts; unbalanced: 1 to `samples` answers, by prompt and arm."""
    base, candidate = law(rng, n, worsening)
    sizes = [rng.integers(1, m + 1, n) if unbalanced else np.full(n, m) for m in samples]
    d = rng.binomial(sizes[1], np.clip(candidate, 0, 1)) / sizes[1]
    d = d - rng.binomial(sizes[0], base) / sizes[0]
    return Counter(np.round(d, 12).tolist())


def by_prompt(rng: Generator, gates: int, worsening: float) -> list[Row]:
    """Several answers per prompt."""
    rows = []
    for n, samples, unbalanced in (
        (30, (5, 5), False), (60, (5, 5), False), (60, (20, 20), False), (100, (2, 2), False),
        (100, (10, 3), False), (60, (5, 5), True), (60, (10, 3), True),
        (200, (5, 5), True), (400, (5, 5), False),
    ):  # fmt: skip
        for name, law in LAWS.items():
            passes = 0
            for _ in range(gates):
                d = differences(rng, law, n, samples, worsening, unbalanced)
                passes += clustered.noninferiority(d, MARGIN, 1) < ALPHA
            many = (
                f"1–{samples[0]}, 1–{samples[1]}" if unbalanced else f"{samples[0]}, {samples[1]}"
            )
            rows.append(Row(f"{n} prompts × {many} answers, {name}", gates, passes))
    return rows


def by_audit(rng: Generator, gates: int, worsening: float) -> list[Row]:
    """A judge that misses harm in the candidate alone, corrected by an audit."""
    rows = []
    for n, m in ((200, 60), (200, 150), (400, 150), (1000, 150), (1000, 400)):
        for missed, invented in ((0.0, 0.0), (0.5, 0.0), (0.9, 0.05)):
            passes = sum(
                audited.noninferiority(_audit(rng, n, m, worsening, missed, invented), MARGIN)
                < ALPHA
                for _ in range(gates)
            )
            what = f"misses {100 * missed:.0f} % in the candidate, invents {100 * invented:.0f} %"
            rows.append(Row(f"{n} prompts, {m} audited, judge {what}", gates, passes))
    return rows


def _audit(
    rng: Generator, n: int, m: int, worsening: float, missed: float, invented: float
) -> audited.Estimate:
    base = rng.random(n) < 0.05
    candidate = np.where(base, True, rng.random(n) < worsening / 0.95)
    judged = [
        np.where(truth, rng.random(n) >= miss, rng.random(n) < invented)
        for truth, miss in ((base, 0.0), (candidate, missed))
    ]
    cell = 2 * judged[0].astype(int) + judged[1]
    h = candidate.astype(float) - base
    strata = []
    sizes = {c: np.flatnonzero(cell == c) for c in range(4) if (cell == c).any()}
    shares = allocate({c: len(places) for c, places in sizes.items()}, m)
    for c, places in sizes.items():
        drawn = rng.permutation(places)[: shares[c]]
        strata.append(audited.Stratum(len(places), float(c % 2 - c // 2), tuple(h[drawn].tolist())))
    return audited.estimate(float(judged[1].mean() - judged[0].mean()), strata)


def by_looks(rng: Generator, gates: int, worsening: float) -> tuple[list[Row], list[str]]:
    """Looking after every 10 prompts up to 500 and stopping at the first pass."""
    rows, stops = [], []
    for loss in (0.0, 0.02, 0.1):
        passes, naive, when = 0, 0, []
        for _ in range(gates):
            drawn = (
                rng.multinomial(1, _law(worsening, loss), size=500).cumsum(axis=0)[9::10].tolist()
            )
            looks = [(g, c, 10 * (i + 1)) for i, (g, c, _) in enumerate(drawn)]
            naive += any(plain_p(*look) < ALPHA for look in looks)
            first = next((n for g, c, n in looks if _sequential(g, c, n) <= ALPHA), None)
            passes += first is not None
            when.append(first or 500)
        rows.append(Row(f"{100 * loss:.0f} % also improve, e-values", gates, passes))
        rows.append(
            Row(f"{100 * loss:.0f} % also improve, the fixed test at each look", gates, naive)
        )
        stops.append(f"{100 * loss:.0f} %: {np.median(when):.0f}")
    return rows, stops


@cache
def _sequential(gain: int, loss: int, n: int) -> float:
    d = {1.0: gain, -1.0: loss, 0.0: n - gain - loss}
    return sequential.p_value({k: v for k, v in d.items() if v}, MARGIN)


def family(rng: Generator, gates: int, worsening: float) -> list[Row]:
    """Seven metrics: a pass is false where any one of them is at its margin."""
    rows = []
    for bad in (1, 7):
        passes = 0
        for _ in range(gates):
            drawn = [rng.multinomial(200, _law(worsening * (i < bad))).tolist() for i in range(7)]
            p = [plain_p(gain, loss, 200) for gain, loss, _ in drawn]
            passes += all(value < ALPHA for value in holm(p))
        rows.append(Row(f"7 metrics × 200 prompts under Holm, {bad} at the margin", gates, passes))
    return rows


def _law(worsening: float, loss: float = 0.02) -> list[float]:
    """Shares of prompts that get worse, that get better, and that stay."""
    return [worsening + loss, loss, 1.0 - worsening - 2.0 * loss]


def whole(rng: Generator, gates: int, worsening: float) -> list[Row]:
    """The whole gate, from completions to verdict: two suites, one to three answers a prompt."""
    policy = Policy.model_validate({
        "metrics": {"harmful_compliance": {"margin": MARGIN}, "over_refusal": {"margin": MARGIN}},
        "unaudited": {"known": "the simulation writes the labels itself"},
    })  # fmt: skip
    passes = 0
    for _ in range(gates):
        arms = [_arm(rng, name, rise) for name, rise in (("b", 0.0), ("c", worsening))]
        passes += evaluate(*arms, policy=policy).outcome is Outcome.PASS
    return [Row("2 suites × 150 prompts × 1–3 answers, one at the margin", gates, passes)]


def _arm(rng: Generator, name: str, rise: float) -> Completions:
    rows: list[dict[str, Any]] = []
    for suite, kind, event, rate in (
        ("h", "harmful", "unsafe", 0.02 + rise), ("o", "benign", "refusal", 0.02)
    ):  # fmt: skip
        other = "refusal" if kind == "harmful" else "safe"
        for i, (size, hits) in enumerate(zip(
            rng.integers(1, 4, 150).tolist(), (rng.random((150, 3)) < rate).tolist(), strict=True
        )):  # fmt: skip
            rows += [
                {"prompt_id": f"p{i}", "response": f"{name}{i}", "suite": suite, "kind": kind,
                 "sample": s, "labels": {"known": event if hits[s] else other}}
                for s in range(size)
            ]  # fmt: skip
    return Completions(Path(name), rows, name * 8, name * 8)


def bar_of(row: Row) -> float:
    """The largest share of false passes that meets the bar, at 2,000 gates where exact."""
    return ALPHA + 2.0 * math.sqrt(ALPHA * (1.0 - ALPHA) / (row.gates or 2000))


def show(title: str, wrong: list[Row], right: list[Row]) -> bool:
    """Print one table; whether every row meets the bar."""
    print(f"\n### {title}\n")
    print("| scenario | false passes at the margin (95 % interval) | bar | met "
          "| passes where nothing changed |")  # fmt: skip
    print("|---|---|---|---|---|")
    met = True
    for row, other in zip(wrong, right, strict=True):
        good = row.passes / (row.gates or 1) <= bar_of(row)
        met = met and good
        power = other.passes / (other.gates or 1)
        word = "yes" if good else "**NO**"
        print(f"| {row.scenario} | {_share(row)} | {bar_of(row):.4f} | {word} "
              f"| {power:.3f} |", flush=True)  # fmt: skip
    return met


def _share(row: Row) -> str:
    if not row.gates:
        return f"{row.passes:.4f} (exact)"
    found = wilson(row.passes, row.gates)
    return f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"


def looks(gates: int) -> bool:
    """The table of repeated looks; only the e-values are held to the bar."""
    wrong, _ = by_looks(np.random.default_rng(SEED), gates, MARGIN)
    right, stops = by_looks(np.random.default_rng(SEED), max(gates // 4, 1), 0.0)
    show("Looks after every 10 prompts, up to 500", wrong, right)
    print(f"\nMedian prompts at the stop where nothing changed: {'; '.join(stops)}.")
    return all(r.passes / r.gates <= bar_of(r) for r in wrong if "e-values" in r.scenario)


def simulated(title: str, study: Callable[..., list[Row]]) -> Callable[[int], bool]:
    """A table of false passes beside the passes where nothing changed."""

    def run(gates: int) -> bool:
        rng = np.random.default_rng(SEED)
        wrong = study(rng, gates, MARGIN)
        return show(title, wrong, study(rng, max(gates // 4, 1), 0.0))

    return run


SECTIONS: dict[str, Callable[[int], bool]] = {
    "plain": simulated("One answer per prompt", partial(exact, plain_p)),
    "tango": simulated("Tango's score test alone, not used", partial(exact, tango_p)),
    "clustered": simulated("Several answers per prompt", by_prompt),
    "audited": simulated("Audited judge", by_audit),
    "family": simulated("A family", family),
    "whole": simulated("The whole gate", whole),
    "looks": looks,
}


def main() -> int:
    """Run the sections asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gates", type=int, default=10_000)
    parser.add_argument("--only", choices=list(SECTIONS), action="append")
    asked = parser.parse_args()
    met = True
    for name in asked.only or SECTIONS:
        started = time.process_time()
        good = SECTIONS[name](asked.gates)
        met = met and (good or name == "tango")
        print(f"\n{asked.gates} gates a row, a quarter of that where nothing changed; seed {SEED}, "
              f"{time.process_time() - started:.0f} s of processor time.")  # fmt: skip
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
