"""`holdfast gate`: two completions files, or a run folder, into a verdict and an exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.cli.arms import arm_options, by_suite, judges_of, read_arms, show_verdict
from holdfast.core.errors import DataError, UsageError
from holdfast.core.files import collector_paused

if TYPE_CHECKING:
    from holdfast.core.records import Verdict
    from holdfast.gate.policy import Policy

_SEVEREST = (4, 1, 3, 0)
"""Exit codes from worst to best: invalid, fail, inconclusive, pass."""
_OUT = click.Path(path_type=Path, dir_okay=False)


@click.command("gate")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@arm_options
@click.option("--junit", type=_OUT, help="Write JUnit XML here.")
@click.option("--markdown", type=_OUT, help="Write a Markdown summary here.")
@click.option("--out", type=_OUT, help="Write the JSON here as well.")
@click.pass_context
def command(
    ctx: click.Context,
    run: Path | None,
    base: Path | None,
    candidate: Path | None,
    judges: tuple[str, ...],
    audit: Path | None,
    looks: bool,
    policy: Path | None,
    kinds: tuple[str, ...],
    allow_identical: bool,
    as_json: bool,
    junit: Path | None,
    markdown: Path | None,
    out: Path | None,
) -> None:
    """Decide: PASS, FAIL, INCONCLUSIVE or INVALID.

    Either name two completions files with --base and --candidate, or the folder of a RUN: then
    every arm of it is gated again from its completions, with RUN/policy.yaml if that is there and
    --policy is not, and with the judges of the run's own verdicts unless --judge names others.

    The exit code is 0 for PASS, 1 for FAIL, 3 for INCONCLUSIVE, 4 for INVALID; with several arms
    the worst one counts, in the order INVALID, FAIL, INCONCLUSIVE, PASS. JSON is one verdict, or a
    list of verdicts for a RUN.

    A judge that the policy does not accept in words gives no PASS without --audit: human labels for
    a sample of both arms, drawn by 'holdfast judge audit'. A second --judge decides nothing; where
    it denies the first, that is a finding.
    """
    from holdfast.gate.policy import load

    if run is not None and (base or candidate):
        raise UsageError("gate", got="a run and files", expected="RUN, or --base and --candidate")
    named, further = judges_of(judges)
    if run is not None:
        arms = _arms_of(run)
        base = run / "completions" / "base.jsonl"
        named = named or _judges_of(run)
        policy = policy or (run / "policy.yaml" if (run / "policy.yaml").is_file() else None)
    elif base and candidate:
        arms = {"candidate": candidate}
    else:
        raise UsageError("gate", got="too little", expected="RUN, or --base and --candidate")
    question = _Question(
        named, further, by_suite("--kind", kinds), load(policy), allow_identical, audit, looks
    )
    verdicts = _evaluate(base, arms, question)
    text = _json(verdicts, as_list=run is not None)
    _write(verdicts, text, junit=junit, markdown=markdown, out=out)
    if as_json:
        click.echo(text)
    else:
        for verdict in verdicts:
            show_verdict(verdict)
    codes = {verdict.outcome.exit_code for verdict in verdicts}
    ctx.exit(next(code for code in _SEVEREST if code in codes))


@dataclass(frozen=True)
class _Question:
    """What is asked of every arm."""

    judges: dict[str, str]
    further: tuple[str, ...]
    kinds: Mapping[str, str]
    policy: Policy
    allow_identical: bool
    audit: Path | None
    looks: bool


def _evaluate(base: Path, arms: Mapping[str, Path], asked: _Question) -> list[Verdict]:
    from holdfast.gate.audit import read
    from holdfast.gate.compare import Options
    from holdfast.gate.decide import evaluate

    if asked.policy.judge:
        asked.judges.setdefault("", asked.policy.judge)
    with collector_paused():
        first, *others = read_arms(
            base, list(arms.values()), asked.judges, asked.kinds, asked.further
        )
        named = {"base": first, **dict(zip(arms, others, strict=True))}
        labels = read(asked.audit, named) if asked.audit else None
        return [
            evaluate(
                first, other, judge=asked.judges, further=asked.further, policy=asked.policy,
                kinds=asked.kinds, allow_identical=asked.allow_identical, arm=name,
                options=Options(labels, name, asked.looks),
            )
            for name, other in zip(arms, others, strict=True)
        ]  # fmt: skip


def _arms_of(run: Path) -> dict[str, Path]:
    """The final completions of every arm; files of single steps, `arm@step`, are left out."""
    folder = run / "completions"
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist", next_step="check the path, or finish the run")
    found = {path.stem: path for path in sorted(folder.glob("*.jsonl")) if "@" not in path.stem}
    found.pop("base", None)
    if not found:
        raise DataError(f"{folder} holds no candidate", expected="base.jsonl and one file per arm")
    return found


def _judges_of(run: Path) -> dict[str, str]:
    """Judge by suite, as the verdicts that the run already has name it."""
    from holdfast.core.records import Verdict
    from holdfast.gate.compare import POOLED

    judges: dict[str, str] = {}
    for path in sorted((run / "verdicts").glob("*.json")):
        for c in Verdict.load(path).comparisons:
            if c.suite != POOLED:
                judges[c.suite] = c.judge
    return judges


def _json(verdicts: Sequence[Verdict], *, as_list: bool) -> str:
    texts = [verdict.model_dump_json(indent=1) for verdict in verdicts]
    return "[" + ",\n".join(texts) + "]" if as_list else texts[0]


def _write(
    verdicts: Sequence[Verdict],
    text: str,
    *,
    junit: Path | None,
    markdown: Path | None,
    out: Path | None,
) -> None:
    from holdfast.core.files import write_text

    if out:
        write_text(out, text + "\n")
    if junit:
        from holdfast.gate.junit import render as as_junit

        write_text(junit, as_junit(verdicts))
    if markdown:
        from holdfast.gate.markdown import render as as_markdown

        write_text(markdown, as_markdown(verdicts))
