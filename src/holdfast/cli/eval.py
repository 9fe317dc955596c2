"""`holdfast eval`: answers of one model to suites, with labels, as a completions file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from holdfast.core.errors import UsageError

if TYPE_CHECKING:
    from holdfast.core.protocols import Generator
    from holdfast.evals.choices import AnswerScorer
    from holdfast.evals.plan import PromptPlan
    from holdfast.evals.replies import Streaming
    from holdfast.evals.suites import Prompt, Suite

_FILE = click.Path(path_type=Path)


@click.command("eval")
@click.argument("model")
@click.option("--suite", "specs", multiple=True, required=True, help="Suite; repeat for several.")
@click.option("--out", type=_FILE, required=True, help="Completions file to write (JSONL).")
@click.option("--judge", "judge_names", multiple=True, help="Judge; default: each suite's own.")
@click.option("--adapter", type=_FILE, default=None, help="PEFT adapter on MODEL.")
@click.option("--kind", default="", help="Kind of suites that are files of your own.")
@click.option(
    "--per-suite", type=click.IntRange(min=1), default=None, help="Prompts of each suite."
)
@click.option("--seed", default=0, show_default=True, help="Chooses the prompts.")
@click.option("--plan", "plan_file", type=_FILE, default=None, help="Write the prompt plan here.")
@click.option("--cache", type=_FILE, default=None, help="Answer cache; default: beside --out.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=256, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or auto.")
@click.option("--arm", default="base", show_default=True, help="What people call this model.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Copies of the model that answer side by side (Ray; extra 'scale').",
)
@click.option("--served-model", default="", help="Endpoint: name of the model that it serves.")
@click.option("--timeout", type=float, default=120.0, show_default=True, help="Endpoint: seconds.")
@click.option(
    "--attempts",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Endpoint: requests per prompt at most.",
)
@click.option(
    "--price",
    type=(float, float),
    default=None,
    help="Endpoint: price of a million input and of a million output tokens.",
)
def command(
    model: str,
    specs: tuple[str, ...],
    out: Path,
    judge_names: tuple[str, ...],
    adapter: Path | None,
    kind: str,
    per_suite: int | None,
    seed: int,
    plan_file: Path | None,
    cache: Path | None,
    max_new_tokens: int,
    batch_size: int,
    device: str,
    arm: str,
    workers: int,
    served_model: str,
    timeout: float,
    attempts: int,
    price: tuple[float, float] | None,
) -> None:
    """Evaluate MODEL on suites; a killed run continues with the same command.

    MODEL is a folder, a hub name, or the address of an OpenAI-compatible server such as
    http://localhost:8000/v1 (key in HOLDFAST_API_KEY, requests in flight by --batch-size). What an
    endpoint serves cannot be checked: its answers are marked `unverified`.
    """
    from holdfast.evals.judges import make
    from holdfast.evals.suites import SuiteOptions, load_all

    # All that can be wrong with the request comes to light before the model is loaded.
    suites = load_all(specs, {spec: SuiteOptions(kind=kind) for spec in specs})
    names = judge_names or tuple(dict.fromkeys(suite.judge for suite in suites))
    judges = {name: make(name) for name in names}
    if not model.startswith(("http://", "https://")):
        asked = _local(model, adapter, device, workers, max_new_tokens)
    elif adapter is not None or workers > 1:
        raise UsageError("an endpoint takes neither --adapter nor --workers")
    else:
        from holdfast.evals.endpoint import connect

        found = connect(model, served_model, timeout=timeout, attempts=attempts, price=price)
        asked = _Asked(nullcontext(found), found.digest)
    plan = _freeze(suites, per_suite, seed, asked.fits, plan_file)
    from holdfast.cli.progress import progress_bar
    from holdfast.evals.runner import run

    with asked.generator as generator, progress_bar(f"evaluate {arm}") as progress:
        run(
            generator, plan, judges, out=out, cache=cache or out.with_name(f"{out.name}.cache"),
            arm=arm, max_new_tokens=max_new_tokens, batch_size=batch_size,
            scorer=asked.scorer, progress=progress,
        )  # fmt: skip
    _say(plan.total, asked.digest, len(suites), out)


@dataclass(frozen=True)
class _Asked:
    """A model that is about to be evaluated."""

    generator: AbstractContextManager[Generator | Streaming]
    digest: str
    fits: Callable[[Prompt], bool] | None = None
    scorer: AnswerScorer | None = None


def _local(
    model: str, adapter: Path | None, device: str, workers: int, max_new_tokens: int
) -> _Asked:
    """A folder or a hub name, in this process or in `workers` of their own."""
    from holdfast.evals.fanout import Fleet
    from holdfast.evals.plan import within
    from holdfast.models.loading import load
    from holdfast.models.scoring import answer_logprobs

    loaded = load(model, adapter=adapter, device=device)
    fits = within(
        lambda messages: len(loaded.render(messages)),
        context=loaded.max_context, max_new_tokens=max_new_tokens,
    )  # fmt: skip
    context: AbstractContextManager[Generator | Streaming] = nullcontext(loaded)
    if workers > 1:
        # Each worker loads the weights itself; the digest shows that they are the same.
        make = partial(load, model, adapter=adapter, device=device)
        context = Fleet(make, loaded.digest, workers, gpus=float(device != "cpu"))
    return _Asked(context, loaded.digest, fits, partial(answer_logprobs, loaded))


def _freeze(
    suites: Sequence[Suite], per_suite: int | None, seed: int,
    fits: Callable[[Prompt], bool] | None, plan_file: Path | None,
) -> PromptPlan:  # fmt: skip
    from holdfast.evals.plan import freeze

    plan = freeze(suites, per_suite=per_suite, seed=seed, fits=fits)
    if plan_file is not None:
        plan.save(plan_file)
    for suite in plan.suites:
        if suite.too_long:
            click.echo(
                f"{suite.name}: {suite.too_long} prompts exceed the context and are left out."
            )
    return plan


def _say(total: int, digest: str, suites: int, out: Path) -> None:
    from holdfast.core.records.refs import is_verified
    from holdfast.evals.record import EvalRecord, record_path

    record = EvalRecord.load(record_path(out))
    name = digest[:12] if is_verified(digest) else digest
    click.echo(f"{total} answers of {name} to {suites} suites are in {out}.")
    if record.failed:
        click.echo(f"{record.failed} prompts got no answer; their rows are unscored and say why.")
    if record.input_tokens is not None and record.output_tokens is not None:
        cost = "" if record.cost is None else f", cost {record.cost:.4f}"
        click.echo(f"tokens: {record.input_tokens} in, {record.output_tokens} out{cost}.")
