"""Run a frozen prompt plan on one arm: batched, cached, resumable; answers come with labels."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.core.digest import sha256_file
from holdfast.core.errors import UsageError
from holdfast.core.files import write_jsonl
from holdfast.core.protocols import Generator, Judge, Progress, no_progress
from holdfast.core.records.refs import is_verified
from holdfast.evals.asking import Asker
from holdfast.evals.cache import AnswerCache, check_identity
from holdfast.evals.choices import AnswerScorer, score_choices
from holdfast.evals.plan import PromptPlan
from holdfast.evals.record import EvalRecord, record_path
from holdfast.evals.replies import CHUNK_BATCHES, Reply, Streaming
from holdfast.evals.talks import Talk, talks_of


def run(
    generator: Generator | Streaming,
    plan: PromptPlan,
    judges: Mapping[str, Judge],
    *,
    out: Path,
    cache: Path,
    arm: str,
    max_new_tokens: int = 256,
    batch_size: int = 16,
    temperature: float = 0.0,
    seed: int = 0,
    scorer: AnswerScorer | None = None,
    progress: Progress = no_progress,
) -> Path:
    """Answer every prompt of `plan`, label the answers, write the completions file `out`.

    Finished answers go to `cache` at once (a local model's in chunks of `CHUNK_BATCHES` batches),
    so that a killed run continues where it stopped and no answer of these weights is generated
    twice; `out` is written atomically at the end, in the plan's order, and beside it the
    `EvalRecord`. A ladder is asked on after each answer that did not comply (by the suite's own
    judge if it is among `judges`, else the first) and stops at the first compliance. The answers
    in the cache do not depend on `batch_size`. Prompts with choices are not answered: `scorer`
    gives the log-probability of each choice, and the label is that of the likeliest one (judge
    `choices`).

    A model whose weights nobody has seen (`unverified:…`) can change behind its name: its answers
    are kept in a cache of their own, `CACHE.unverified`, which ends with the run. A prompt that
    got no answer has an empty one, the label `unscored` and the reason in its row.
    """
    check_identity(generator.digest)
    if not judges:
        raise UsageError("an evaluation needs at least one judge", next_step="add --judge rules")
    if max_new_tokens < 1 or batch_size < 1:
        raise UsageError("max_new_tokens and batch_size", expected="at least 1")
    begin = time.monotonic()
    verified = is_verified(generator.digest)
    if not verified:
        cache = cache.with_name(f"{cache.name}.unverified")
    talks = [talk for suite in plan.suites for talk in talks_of(suite, judges)]
    parameters: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    if temperature > 0:
        parameters["seed"] = seed
    with AnswerCache(cache) as store:
        asker = Asker(generator, store, parameters, batch_size, seed, progress)
        chosen = [talk for talk in talks if talk.prompt.choices]
        found = score_choices(
            scorer, generator.digest, [talk.prompt for talk in chosen], store=store,
            batch_size=batch_size, chunk=batch_size * CHUNK_BATCHES, progress=progress,
            what=f"score choices {arm}",
        )  # fmt: skip
        for talk, scores in zip(chosen, found, strict=True):
            talk.choose(scores)
        replies = _converse([talk for talk in talks if not talk.prompt.choices], asker, arm)
        write_jsonl(out, (talk.row(generator.digest, arm) for talk in talks))
        record = _record(generator, talks, replies, asker, time.monotonic() - begin).model_copy(
            update={
                "arm": arm,
                "inputs": {"prompts": plan.prompts_digest, "completions": sha256_file(out)},
            }
        )
        record.save(record_path(out))
        if not verified:
            store.discard()
    return out


def _converse(talks: Sequence[Talk], asker: Asker, arm: str) -> list[Reply]:
    """Ask every talk turn by turn until none has more to say; all replies."""
    replies: list[Reply] = []
    active, turn = list(talks), 1
    while active:
        name = f"evaluate {arm}" if turn == 1 else f"evaluate {arm}, turn {turn}"
        answers = asker.ask([talk.messages for talk in active], name)
        for talk, reply in zip(active, answers, strict=True):
            talk.take(reply)
        replies += answers
        active = [talk for talk in active if talk.climb()]
        turn += 1
    return replies


def _record(
    generator: Generator | Streaming,
    talks: Sequence[Talk],
    replies: Sequence[Reply],
    asker: Asker,
    seconds: float,
) -> EvalRecord:
    streaming = generator if isinstance(generator, Streaming) else None
    tokens_in = _total([reply.input_tokens for reply in replies if not reply.error])
    tokens_out = _total([reply.output_tokens for reply in replies if not reply.error])
    cost = None
    if streaming and streaming.price and tokens_in is not None and tokens_out is not None:
        cost = (tokens_in * streaming.price[0] + tokens_out * streaming.price[1]) / 1e6
    return EvalRecord(
        model=generator.digest,
        verified=is_verified(generator.digest),
        arm="",
        parameters={name: float(value) for name, value in asker.parameters.items()},
        prompts=len(talks),
        answers=sum(not reply.error for reply in replies),
        reused=asker.reused,
        failed=sum(bool(talk.error) for talk in talks),
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cost=cost,
        seconds=round(seconds, 3),
        seed=asker.seed,
        environment=streaming.facts if streaming else {},
    )


def _total(counts: Sequence[int | None]) -> int | None:
    """The sum, or None where one count is missing: half a bill is no bill."""
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None
