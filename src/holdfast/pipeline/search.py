"""The lowest rank that does the task, by successive halving (arXiv 1502.07943).

Ranks 1, 2, 4, 8 … train side by side. After each rung (1, 2, 4 … epochs) two rules thin them out:

- a rank above the lowest one that meets the target cannot be the answer;
- of those that miss it, the better half by task success goes on, the lower rank on ties.

Arms pause at a checkpoint and go on from it, so nothing is trained twice. Task success and refusals
are read on validation prompts only; every reading is a point of the frontier that is shown.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from holdfast.core.errors import UsageError
from holdfast.core.files import write_text
from holdfast.core.records import RankPoint, RankSearch
from holdfast.geometry.fitted import FittedMap
from holdfast.models.loaded import LoadedModel
from holdfast.pipeline.context import Run
from holdfast.pipeline.evaluate import Plans, evaluate, refusal, task_success
from holdfast.pipeline.plan import Plan
from holdfast.pipeline.prepare import Prepared
from holdfast.pipeline.tune import spec_of
from holdfast.tuning.artefacts import open_result
from holdfast.tuning.methods.arm import start_folder, train

NAME = "search/rank.json"


@dataclass(frozen=True)
class _Reading:
    rank: int
    epochs: float
    task: float
    refusal: float


class _Pause(Exception):
    """A rung's end; the checkpoint is whole and the arm goes on from it when it is asked to."""


def ranks_up_to(highest: int) -> list[int]:
    """1, 2, 4, 8 … up to and with `highest`."""
    doubled = [2**k for k in range(highest.bit_length()) if 2**k < highest]
    return [*doubled, highest]


def rungs(epochs: int) -> list[int]:
    """Epochs at which ranks are compared: 1, 2, 4 … and the last."""
    return [*(2**k for k in range(epochs.bit_length()) if 2**k < epochs), epochs]


def survivors(readings: Sequence[_Reading], target: float) -> list[int]:
    """Ranks that go on after a rung: see the module's text."""
    enough = [r.rank for r in readings if r.task >= target]
    lowest = min(enough) if enough else None
    missing = [r for r in readings if r.task < target and (lowest is None or r.rank < lowest)]
    missing.sort(key=lambda r: (-r.task, r.rank))
    better = [r.rank for r in missing[: -(-len(missing) // 2)]]
    return sorted([*better, *([lowest] if lowest is not None else [])])


def target_of(plan: Plan) -> float:
    """The task success that the plan calls enough.

    Raises:
        UsageError: it names none, or trains no adapter.
    """
    if plan.train.task_target is None:
        raise UsageError(
            "the plan names no task target",
            expected="train.task_target: the task success on validation rows that is enough",
            next_step="add it to the plan; a plain run's report shows what is within reach",
        )
    if not plan.train.adapter:
        raise UsageError("tuner: full has no rank", next_step="use tuner: lora, dora or qlora")
    return plan.train.task_target


def search(
    run: Run, prepared: Prepared, plans: Plans, fitted: FittedMap, *, arm: str, highest: int
) -> RankSearch:
    """Find the lowest rank of `arm` that meets `train.task_target` of the plan.

    Raises:
        UsageError: see `target_of`.
    """
    config, target = run.plan.train, target_of(run.plan)
    base = evaluate(run, plans.validation, "validation/base", "base", run.base)
    readings: list[_Reading] = []
    alive = ranks_up_to(highest)
    for epochs in rungs(config.epochs):
        now = [_train_to(run, prepared, plans, fitted, arm, rank, epochs) for rank in alive]
        readings += now
        alive = survivors(now, target)
    final = [r.rank for r in now if r.task >= target]
    found = RankSearch(
        inputs={"plan": run.plan.digest(), "base": run.base_digest}, seed=run.plan.seed, arm=arm,
        target=target, base_refusal=refusal(base, plans.validation),
        chosen=min(final, default=None), points=tuple(_points(readings, target)),
    )  # fmt: skip
    run.store.finish(NAME, found, {**found.inputs, "arm": arm, "highest": str(highest)})
    return found


def _train_to(
    run: Run, prepared: Prepared, plans: Plans, fitted: FittedMap, arm: str, rank: int, epochs: int
) -> _Reading:
    """Train one rank up to the end of a rung, or read what was measured there."""
    name = f"search/{arm}-rank-{rank}-epochs-{epochs}.json"
    path, inputs = run.store.path(name), {"prompts": plans.validation.prompts_digest}
    if run.store.finished(name, inputs):
        return _Reading(**json.loads(path.read_text("utf-8")))
    spec = spec_of(run, prepared, fitted, arm)
    # The factor alpha / rank stays the plan's, so that only the rank differs.
    alpha = spec.config.alpha * rank / spec.config.rank
    spec = replace(
        spec, name=f"{arm}, rank {rank}", out=run.store.path(f"search/{arm}-rank-{rank}"),
        config=spec.config.model_copy(update={"rank": rank, "alpha": alpha}),
    )  # fmt: skip
    seen: list[_Reading] = []

    def on_epoch(step: int, epoch: float, model: LoadedModel) -> None:
        answers = evaluate(
            run, plans.validation, f"search/{arm}-rank-{rank}@step-{step}", arm, model
        )
        task, refused = (rate(answers, plans.validation) for rate in (task_success, refusal))
        seen.append(_Reading(rank, epoch, task, refused))
        if epoch >= epochs:
            raise _Pause

    with contextlib.suppress(_Pause):
        record = train(spec, on_epoch=on_epoch, progress=run.progress)
        if not seen:  # an alarm had ended it in another process
            last = record.checkpoints[-1]
            start = start_folder(spec.config, spec.base, spec.out)
            on_epoch(last.step, last.epoch, open_result(spec.out / last.path, start))
    write_text(path, json.dumps(asdict(seen[-1])) + "\n")
    run.store.finish(name, path, inputs)
    return seen[-1]


def _points(readings: Sequence[_Reading], target: float) -> list[RankPoint]:
    def beaten(one: _Reading) -> bool:
        return any(
            other.task >= one.task and other.refusal >= one.refusal
            and (other.task, other.refusal) != (one.task, one.refusal)
            for other in readings
        )  # fmt: skip

    return [
        RankPoint(
            rank=r.rank, epochs=r.epochs, task_success=r.task, refusal=r.refusal,
            meets=r.task >= target, frontier=not beaten(r),
        )
        for r in sorted(readings, key=lambda r: (r.rank, r.epochs))
    ]  # fmt: skip
