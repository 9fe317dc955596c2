"""The ladder: methods in order of cost, each chosen on validation, stopped at the first pass.

A step makes candidates and measures them on validation prompts. Only if the best of them looks good
enough there is the gate asked about it, once, at the level that is left (see `spending`). Every
step is a record in the run folder, so that a killed repair goes on with the step it was in.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.digest import sha256_json
from holdfast.core.protocols import Progress
from holdfast.core.records import (
    Comparison,
    Outcome,
    RepairAttempt,
    RepairRecord,
    RepairTrial,
    Verdict,
)
from holdfast.core.runstore import RunStore
from holdfast.gate.policy import Policy
from holdfast.repair import spending
from holdfast.repair.base import Bench, Case, Method, Tried
from holdfast.repair.choose import decide


@dataclass(frozen=True)
class Answer:
    """What the gate says about a candidate."""

    verdict: Verdict
    """The gate's own verdict, base against candidate."""
    task: Comparison
    """Held-out task success, failed run against candidate."""
    ask: int
    """Number of this ask among all of the arm's repairs, from 1; the same candidate keeps its."""


Gate = Callable[[str, Path], Answer]
"""Called as gate(method, folder), at most once per method; asks at `spending.level`."""
BenchFor = Callable[[str], Bench]
"""The bench of one method."""


@dataclass(frozen=True)
class Ladder:
    """Everything that climbing needs."""

    case: Case
    store: RunStore
    policy: Policy
    task: float
    """Task success of the failed run on validation."""
    inputs: dict[str, str]
    """Digests of base, failed run, prompts and policy."""
    bench: BenchFor
    gate: Gate
    progress: Progress

    @property
    def folder(self) -> str:
        """Folder of this repair, relative to the run."""
        return folder_of(self.case.arm)

    def climb(self, methods: Sequence[Method], verdict: Verdict) -> RepairRecord:
        """Try `methods`, cheapest first, until one repairs the arm."""
        order = sorted(methods, key=lambda method: self.case_cost(method))
        attempts: list[RepairAttempt] = []
        for position, method in enumerate(order, 1):
            attempts.append(self._attempt(method, position))
            if attempts[-1].repaired:
                break
        return self._record(attempts, verdict)

    def case_cost(self, method: Method) -> float:
        """Planned cost of `method` on this case."""
        return method.cost(self.case)

    def _attempt(self, method: Method, position: int) -> RepairAttempt:
        name = f"{self.folder}/{method.name}/attempt.json"
        inputs = {
            **self.inputs, "settings": sha256_json(method.settings()),
            "unaligned": str(self.case.unaligned or ""), "position": str(position),
        }  # fmt: skip
        if not self.store.finished(name, inputs):
            begin = time.monotonic()
            attempt = self._try(method, position)
            seconds = round(time.monotonic() - begin, 1)
            made = attempt.model_copy(update={"seconds": seconds, "inputs": inputs})
            self.store.finish(name, made, inputs)
        return self.store.read(name, RepairAttempt)

    def _try(self, method: Method, position: int) -> RepairAttempt:
        attempt = RepairAttempt(
            arm=self.case.arm, method=method.name, position=position,
            cost=self.case_cost(method), state="not sound", reason=method.unsound(self.case),
            seed=self.case.seed,
        )  # fmt: skip
        if attempt.reason:
            return attempt
        folder = self.store.path(f"{self.folder}/{method.name}/candidates")
        tried = method.candidates(self.case, self.bench(method.name), folder, self.progress)
        trials, why_not = decide([t.trial for t in tried], task=self.task, policy=self.policy)
        attempt = attempt.model_copy(
            update={"trials": trials, "state": "not enough on validation", "reason": why_not}
        )
        chosen = _chosen(tried, trials)
        if chosen is None or why_not:
            shutil.rmtree(folder, ignore_errors=True)
            return attempt
        final = self._place(method, chosen.folder)
        gated = self._ask(attempt, method, final)
        shutil.rmtree(folder, ignore_errors=True)
        return gated

    def _place(self, method: Method, chosen: Path) -> Path:
        """Copy the chosen candidate to `model`, whole or not at all."""
        final = self.store.path(f"{self.folder}/{method.name}/model")
        draft = final.with_name(".model.tmp")
        for old in (draft, final):
            shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(chosen, draft)
        draft.replace(final)
        return final

    def _ask(self, attempt: RepairAttempt, method: Method, final: Path) -> RepairAttempt:
        answer = self.gate(method.name, final)
        passed = answer.verdict.outcome is Outcome.PASS
        kept = answer.task.p_noninferior < self.policy.alpha
        if passed and kept:
            reason = "the gate passes, and the task is kept"
        elif passed:
            reason = (
                "the gate passes, but held-out task success is not shown to be within "
                f"{answer.task.margin:g} of the failed run's"
            )
        else:
            reason = f"the gate says {answer.verdict.outcome.value.upper()}"
        return attempt.model_copy(
            update={
                "state": "gated", "reason": reason, "ask": answer.ask,
                "alpha": spending.level(self.policy.alpha, answer.ask),
                "outcome": answer.verdict.outcome, "verdict": answer.verdict.digest(),
                "task_kept": answer.task, "repaired": passed and kept,
            }
        )  # fmt: skip

    def _record(self, attempts: Sequence[RepairAttempt], verdict: Verdict) -> RepairRecord:
        asked = max((attempt.ask or 0 for attempt in attempts), default=0)
        record = RepairRecord(
            arm=self.case.arm, base=verdict.base, failed=verdict.candidate,
            failures=self.case.failures, attempts=tuple(attempts), gates_asked=asked,
            alpha=self.policy.alpha, control=spending.sentence(self.policy.alpha, asked),
            outcome=verdict.outcome, inputs=self.inputs, seed=self.case.seed,
        )  # fmt: skip
        last = attempts[-1] if attempts else None
        if last is None or not last.repaired or last.chosen is None:
            return record
        return record.model_copy(
            update={
                "outcome": Outcome.PASS, "method": last.method,
                "artefact": f"{self.folder}/{last.method}/model",
                "model_digest": last.chosen.model_digest,
            }
        )  # fmt: skip


def folder_of(arm: str) -> str:
    """Folder of an arm's repair, relative to the run."""
    return f"repairs/{arm}"


def _chosen(tried: Sequence[Tried], trials: Sequence[RepairTrial]) -> Tried | None:
    return next((t for t, trial in zip(tried, trials, strict=True) if trial.chosen), None)


__all__ = ["Answer", "BenchFor", "Gate", "Ladder", "folder_of"]
