"""`holdfast attack`: a model's answers to attacked suites, as a completions file for the gate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from holdfast.core.protocols import Judge, Progress
    from holdfast.core.records import Interval
    from holdfast.evals.attacks import Attacked
    from holdfast.evals.suites import Suite
    from holdfast.models.loaded import LoadedModel

_FILE = click.Path(path_type=Path)
ADAPTIVE = ("search", "attacker")
"""Attacks that work on MODEL itself; what they find is replayed on the other arms."""


@dataclass(frozen=True)
class _Request:
    """What was asked for on the command line."""

    model: str
    suites: tuple[str, ...]
    attacks: tuple[str, ...]
    replays: tuple[Path, ...]
    out: Path
    judge: str
    tries: int
    seed: int
    away_from: Path | None
    keep: int | None
    attacker: str
    rounds: int
    max_new_tokens: int
    batch_size: int
    device: str


@click.command("attack")
@click.argument("model")
@click.option("--suite", "specs", multiple=True, help="Harmful goals; repeat for several.")
@click.option("--attack", "attacks", multiple=True, metavar="NAME[:PATH]",
              help="Attack; repeat for several (docs/attacks.md).")  # fmt: skip
@click.option("--replay", "replays", multiple=True, type=_FILE,
              help="Attacks that an earlier run saved, word for word.")  # fmt: skip
@click.option("--out", type=_FILE, required=True, help="Completions file to write (JSONL).")
@click.option("--judge", default="", help="Judge; default: each suite's own.")
@click.option("--adapter", type=_FILE, default=None, help="PEFT adapter on MODEL.")
@click.option("--against", type=_FILE, default=None, help="Base's answers to the same attacks.")
@click.option("--summary", type=_FILE, default=None, help="Write rates and curves here (JSON).")
@click.option("--tries", type=click.IntRange(1), default=5, show_default=True,
              help="Ways that each goal is asked, per attack.")  # fmt: skip
@click.option(
    "--k", type=click.IntRange(1), default=3, show_default=True, help="Success over k tries."
)
@click.option("--away-from", type=_FILE, default=None,
              help="Fine-tuning rows; goals near to them are left out.")  # fmt: skip
@click.option("--keep", type=click.IntRange(1), default=None, help="Goals kept with --away-from.")
@click.option("--attacker", default="", help="Model that attacks, for --attack attacker.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True,
              help="Rounds of an adaptive attack (search: 10 steps each).")  # fmt: skip
@click.option("--per-suite", type=click.IntRange(1), default=None, help="Prompts of each suite.")
@click.option("--seed", default=0, show_default=True, help="Chooses prompts and templates.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=256, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or auto.")
@click.option("--arm", default="base", show_default=True, help="What people call this model.")
def command(
    model: str, specs: tuple[str, ...], attacks: tuple[str, ...], replays: tuple[Path, ...],
    out: Path, judge: str, adapter: Path | None, against: Path | None,
    summary: Path | None, tries: int, k: int,
    away_from: Path | None, keep: int | None, attacker: str, rounds: int, per_suite: int | None,
    seed: int, max_new_tokens: int, batch_size: int, device: str, arm: str,
) -> None:  # fmt: skip
    """Attack MODEL: harmful goals asked as published jailbreaks, prefills, ladders and mutations.

    Attacked prompts are saved beside OUT (`OUT.attacks/`): give them to `--replay` for every other
    arm, so that all arms answer the same words. `compare` and `gate` read OUT.
    """
    from holdfast.cli.progress import progress_bar

    request = _Request(
        model, specs, attacks, replays, out, judge, tries, seed, away_from, keep, attacker, rounds,
        max_new_tokens, batch_size, device,
    )  # fmt: skip
    suites = _goals(request)
    with progress_bar(f"attack {arm}") as progress:
        from holdfast.models.loading import load

        loaded = load(model, adapter=adapter, device=device)
        found = _attacked(request, suites, loaded, progress)
        total = _answer(request, found, loaded, per_suite, arm, progress)
    click.echo(f"{total} answers of {loaded.digest[:12]} to {len(found)} attacks are in {out}.")
    chosen = {a.suite.name: judge or a.suite.judge for a in found}
    measures = _measure(out, against, k, chosen)
    if summary is not None:
        _write(summary, measures)
    _show(measures)


def _goals(request: _Request) -> list[Suite]:
    """The suites to attack, away from the fine-tuning data; no model is loaded yet."""
    from holdfast.core.errors import UsageError
    from holdfast.evals.attacks import ATTACKS
    from holdfast.evals.suites import load_all

    if not request.replays and not (request.suites and request.attacks):
        raise UsageError(
            "nothing to attack with", next_step="give --suite and --attack, or --replay"
        )
    for spec in request.attacks:
        if spec not in ADAPTIVE:
            ATTACKS.load(spec.partition(":")[0])
    if "attacker" in request.attacks and not request.attacker:
        raise UsageError("attack 'attacker' needs a model", next_step="name it with --attacker")
    suites = load_all(request.suites) if request.suites else []
    return [_far(request, suite) for suite in suites] if request.away_from else suites


def _far(request: _Request, suite: Suite) -> Suite:
    from holdfast.data.read import read_rows
    from holdfast.evals.attacks.distance import away

    assert request.away_from is not None
    rows = read_rows(request.away_from)
    kept, report = away(suite, [_asked(row) for row in rows], keep=request.keep)
    click.echo(
        f"{suite.name}: {report.goals} of {len(suite.prompts)} goals, mean distance "
        f"{report.mean:.2f} from the fine-tuning data (its own width: {report.within:.2f})."
    )
    return kept


def _asked(row: dict[str, Any]) -> str:
    """What a training row asks, in whatever columns it has."""
    messages = row.get("messages")
    if isinstance(messages, list):
        said = [m.get("content", "") for m in messages if isinstance(m, dict)
                and m.get("role") in ("user", "system")]  # fmt: skip
        return " ".join(map(str, said))
    return " ".join(str(row[key]) for key in ("prompt", "question", "instruction") if key in row)


def _attacked(
    request: _Request, suites: Sequence[Suite], loaded: LoadedModel, progress: Progress
) -> list[Attacked]:
    """All attacks, the adaptive ones run against this model, saved for the other arms."""
    from holdfast.evals.attacks import AttackOptions, make, replay

    options = AttackOptions(tries=request.tries, seed=request.seed)
    found = [replay.read(path) for path in request.replays]
    for suite in suites:
        for spec in request.attacks:
            if spec in ADAPTIVE:
                made = _adapt(spec, request, suite, loaded, progress)
            else:
                made = make(spec, suite, options)
            found.append(made)
            folder = request.out.with_name(f"{request.out.name}.attacks")
            replay.write(made, folder / f"{made.suite.name.replace('/', '_')}.jsonl")
    return found


def _adapt(
    name: str, request: _Request, suite: Suite, loaded: LoadedModel, progress: Progress
) -> Attacked:
    from holdfast.evals.attacks import AttackOptions
    from holdfast.evals.judges import make as make_judge

    options = AttackOptions(tries=request.tries, seed=request.seed)
    if name == "search":
        from holdfast.evals.attacks.search import SearchSettings, search
        from holdfast.evals.probes.trigger_sweep.scores import OPENINGS, arm

        score = arm(loaded, OPENINGS, batch_size=request.batch_size).score
        settings = SearchSettings(steps=10 * request.rounds)
        return search(suite, score, options, settings=settings, progress=progress)
    from holdfast.evals.attacks.attacker import AttackerSettings, adapt
    from holdfast.evals.attacks.endpoint import attacker_of

    bounds = AttackerSettings(
        rounds=request.rounds, max_new_tokens=request.max_new_tokens, batch_size=request.batch_size
    )
    judge: Judge = make_judge(request.judge or suite.judge)
    attacker = attacker_of(request.attacker, device=request.device)
    return adapt(suite, attacker, loaded, judge, options, settings=bounds, progress=progress)


def _answer(
    request: _Request, found: Sequence[Attacked], loaded: LoadedModel, per_suite: int | None,
    arm: str, progress: Progress,
) -> int:  # fmt: skip
    """Run the attacks on the model; labels are of the goals."""
    from holdfast.evals.attacks import GoalJudge
    from holdfast.evals.judges import make as make_judge
    from holdfast.evals.plan import freeze, within
    from holdfast.evals.runner import run

    suites = [attacked.suite for attacked in found]
    fits = within(
        lambda messages: len(loaded.render(messages)),
        context=loaded.max_context, max_new_tokens=request.max_new_tokens,
    )  # fmt: skip
    plan = freeze(suites, per_suite=per_suite, seed=request.seed, fits=fits)
    for suite in plan.suites:
        if suite.too_long:
            click.echo(f"{suite.name}: {suite.too_long} prompts exceed the context, left out.")
    names = [request.judge] if request.judge else list(dict.fromkeys(s.judge for s in suites))
    judges = {name: GoalJudge(make_judge(name), found) for name in names}
    run(
        loaded, plan, judges, out=request.out,
        cache=request.out.with_name(f"{request.out.name}.cache"), arm=arm,
        max_new_tokens=request.max_new_tokens, batch_size=request.batch_size, progress=progress,
    )  # fmt: skip
    return plan.total


def _write(path: Path, found: dict[str, dict[str, Any]]) -> None:
    from holdfast.core.files import write_text

    content = {
        suite: {name: record.model_dump(mode="json") for name, record in measures.items()}
        for suite, measures in found.items()
    }
    write_text(path, json.dumps(content, indent=1) + "\n")


def _measure(
    out: Path, against: Path | None, k: int, judges: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """Per suite, by its judge: success over 1 and over k tries, and survival of a ladder."""
    from holdfast.core.completions import load
    from holdfast.core.errors import DataError

    rows = load(out).rows
    base = load(against).rows if against is not None else None
    found: dict[str, dict[str, Any]] = {}
    for suite in dict.fromkeys(str(row["suite"]) for row in rows):
        own = [row for row in rows if row["suite"] == suite]
        others = None if base is None else [row for row in base if row.get("suite") == suite]
        try:
            found[suite] = _of_suite(own, others, judges[suite], k)
        except DataError as error:  # such as no scored answer: the other suites still count
            click.echo(f"{suite}: {error}")
    return found


def _of_suite(
    own: list[dict[str, Any]], others: list[dict[str, Any]] | None, judge: str, k: int
) -> dict[str, Any]:
    from holdfast.evals.attacks.survival import compare
    from holdfast.evals.attacks.tries import counts, success

    tallies = counts(own, judge)
    theirs = None if others is None else counts(others, judge)
    most = max(min(k, *(n for n, _ in tallies.values())), 1)
    found: dict[str, Any] = {
        f"success over {tried}": success(tallies, theirs, k=tried) for tried in sorted({1, most})
    }
    if own[0].get("kind") == "ladder":
        found["survival"] = compare(own, others, judge=judge)
    return found


def _show(found: dict[str, dict[str, Any]]) -> None:
    """Print rates with their intervals; no transcript."""
    for suite, measures in found.items():
        for name, record in measures.items():
            if name == "survival":
                last = record.candidate.holding
                line = f"{suite}: holding after turn {len(last)} {_words(last[-1])}"
                if record.turns_lost is not None:
                    line += f", turns lost {_words(record.turns_lost)}"
            else:
                line = f"{suite}: {name} {_words(record.candidate)}"
                if record.difference is not None:
                    line += f", change {_words(record.difference)}"
            click.echo(line)


def _words(interval: Interval) -> str:
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
