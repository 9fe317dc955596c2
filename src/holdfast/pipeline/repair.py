"""Stage: repair a failed arm of a finished run, step by step, and gate what each step makes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from holdfast.core.completions import load as load_completions
from holdfast.core.errors import DataError, UsageError
from holdfast.core.files import write_jsonl, write_text
from holdfast.core.protocols import Progress, no_progress
from holdfast.core.records import (
    Comparison,
    RepairRecord,
    RepairTrial,
)
from holdfast.core.runstore import RunStore
from holdfast.gate import junit, markdown
from holdfast.gate.compare import compare
from holdfast.gate.decide import evaluate as gate
from holdfast.gate.policy import Eligibility, MetricPolicy, Policy
from holdfast.geometry.fitted import FittedMap
from holdfast.models.architecture import residual_writers
from holdfast.models.loaded import LoadedModel
from holdfast.pipeline.context import BASE, Run
from holdfast.pipeline.evaluate import evaluate, judges_of
from holdfast.pipeline.mapping import MAP
from holdfast.pipeline.prepare import Prepared, prepare
from holdfast.pipeline.repair_open import Failed, check, failed_arm, read_plan, require_buffer
from holdfast.pipeline.repair_prompts import RepairPrompts, collect
from holdfast.repair.base import Bench, Case, Method, Tried, slug
from holdfast.repair.choose import KEEP_TASK, rates, worst
from holdfast.repair.failures import diagnose
from holdfast.repair.ladder import Answer, Ladder, folder_of
from holdfast.repair.pairs import Asked, Pairs, make
from holdfast.repair.registry import METHODS
from holdfast.repair.spending import level
from holdfast.repair.updates import added, is_additive, open_update
from holdfast.report.html import write as write_report
from holdfast.report.load import load as load_run
from holdfast.tuning.artefacts import kind_of, merge
from holdfast.tuning.methods.sft.config import sft_like
from holdfast.vault.manifest import describe
from holdfast.vault.store import Vault, default_root

VERDICT = "verdict.json"
TASK_MARGIN = 0.05
"""Largest loss of held-out task success against the failed run that a repair may have."""
SCREEN = 0.15
"""A candidate that worsens a metric by more on the first look is not looked at more closely."""
MOST_PAIRS = 240
"""Pairs that answer failures; as many rows stand against them twice (see `repair.pairs`)."""


def repair(
    folder: Path,
    *,
    arm: str = "",
    methods: Sequence[str] = (),
    unaligned: Path | None = None,
    vault: Path | None = None,
    progress: Progress = no_progress,
) -> RepairRecord | None:
    """Repair the failed arm of the run in `folder`, or go on with it; None if none has failed.

    Args:
        folder: a finished run.
        arm: which arm; needed where several have failed.
        methods: names of `repair.registry.METHODS`; all of them where empty.
        unaligned: folder of an unaligned sibling of the base, for Safe LoRA and safety vectors.
        vault: vault that gets the repaired model; the run's own if it has one, else the default.
        progress: told what is under way.

    Raises:
        UsageError: no run, an unfinished run, several failed arms, an unknown method.
        IntegrityError: records, answers or weights are not those that the run finished with.
        RefusedError: nothing can be restored (see `repair.failures.diagnose`).
        DataError: the safety buffer is missing or overlaps the evaluation prompts.
    """
    plan, digest = read_plan(folder)
    chosen = [METHODS.load(name)() for name in methods or METHODS.names()]
    if unaligned is not None and not unaligned.is_dir():
        raise UsageError(f"{unaligned} is no model folder", next_step="check --unaligned")
    arm = failed_arm(folder, plan, arm)
    if not arm:
        return None
    require_buffer(plan)
    with RunStore.open(folder, digest) as store:
        own = folder / "vault"
        run = Run(plan, store, vault or (own if own.is_dir() else default_root()), progress)
        return _Repair(run, check(run, arm), unaligned).record(chosen)


class _Repair:
    """The work of `repair`."""

    def __init__(self, run: Run, failed: Failed, unaligned: Path | None) -> None:
        self.run, self.failed, self.unaligned = run, failed, unaligned
        self.arm, self.policy = failed.arm, failed.policy
        self.folder = folder_of(failed.arm)
        self.prepared: Prepared = prepare(run)
        self.prompts: RepairPrompts = collect(run, self.prepared, failed.gate_plan)
        self.base_rates = cache(self._base_rates)
        self.task = cache(self._task)

    def record(self, methods: Sequence[Method]) -> RepairRecord:
        """The finished repair; an earlier one with the same inputs is only read."""
        failed, store = self.failed, self.run.store
        inputs = {
            "base": failed.verdict.base, "failed": failed.verdict.candidate,
            "choice": self.prompts.choice.prompts_digest, "pool": self.prompts.pool.prompts_digest,
            "gate": failed.gate_plan.prompts_digest, "policy": self.policy.digest(),
        }  # fmt: skip
        name = f"{self.folder}/repair.json"
        named = {**inputs, "methods": ",".join(sorted(m.name for m in methods)),
                 "unaligned": str(self.unaligned or "")}  # fmt: skip
        if not store.finished(name, named):
            ladder = Ladder(
                case=self._case(), store=store, policy=self.policy,
                task=self.task(), inputs=inputs,
                bench=self._bench, gate=self._gate, progress=self.run.progress,
            )  # fmt: skip
            record = ladder.climb(methods, failed.verdict)
            self._seal(record)
            store.finish(name, record, named)
            shutil.rmtree(store.path(f"{self.folder}/merged"), ignore_errors=True)
        record = store.read(name, RepairRecord)
        self._report(record)
        return record

    def _case(self) -> Case:
        run, failed = self.run, self.failed
        merged = cache(self._merged)
        whole = is_additive(failed.result)
        return Case(
            arm=self.arm, base=run.base_folder,
            update=open_update(run.base_folder, failed.result if whole else merged()),
            merged=merged,
            fitted=FittedMap.load(run.store.path(MAP)),
            writers=lambda: [f"{n}.weight" for n, _, _ in residual_writers(run.base.model)],
            unaligned=self.unaligned, failures=diagnose(failed.verdict), pairs=cache(self._pairs),
            rows=self.prepared.rows, config=sft_like(run.plan.train), seed=run.plan.seed,
            prompts=self.prompts.choice.total, quick_prompts=self.prompts.quick.total,
        )  # fmt: skip

    def _merged(self) -> Path:
        """Full weights of the failed model: its own, or the true base with its adapter."""
        run, result = self.run, self.failed.result
        to = run.store.path(f"{self.folder}/merged")
        if kind_of(result) == "merged":
            return result
        if is_additive(result):
            return added(run.base_folder, open_update(run.base_folder, result), to)
        return merge(run.base_folder, result, to)

    def _pairs(self) -> Pairs:
        """Ask both models the pool, and make pairs from where the run fails."""
        run, pool, failed = self.run, self.prompts.pool, self.failed
        name = f"repair/{self.arm}/pool"
        asked = Asked(
            pool, evaluate(run, pool, f"{name}-base", BASE, run.base),
            evaluate(run, pool, f"{name}-run", self.arm, run.load_result(failed.result)),
            judges_of(pool),
        )  # fmt: skip
        pairs = make(
            asked, self.prepared.rows, modes=[m.metric for m in diagnose(failed.verdict)],
            limit=MOST_PAIRS, seed=run.plan.seed,
        )  # fmt: skip
        rows = ({"mode": p.mode, "prompt_id": p.prompt_id, "messages": p.messages,
                 "chosen": p.chosen, "rejected": p.rejected} for p in pairs.items)  # fmt: skip
        write_jsonl(run.store.path(f"{self.folder}/pairs.jsonl"), rows)
        return pairs

    def _bench(self, method: str) -> Bench:
        def measure(
            name: str, folder: Path, settings: dict[str, float | str],
            *, twin: bool = False, quick: bool = False,
        ) -> Tried:  # fmt: skip
            model = self._load(folder)
            look = self._trial(model, f"{method}/{slug(name)}", quick=True)
            hopeful = look["worst"] <= SCREEN and look["task_success"] >= KEEP_TASK * self.task()
            if hopeful and not quick:
                look = self._trial(model, f"{method}/{slug(name)}", quick=False)
            trial = RepairTrial(
                name=name, settings=settings, model_digest=model.digest, twin=twin, **look
            )
            return Tried(trial, folder)

        return measure

    def _trial(self, model: LoadedModel, name: str, *, quick: bool) -> dict[str, Any]:
        """Rates of a candidate and what follows from them: the fields of a `RepairTrial`."""
        found = self._rates(model, name, quick=quick)
        loss, metric = worst(found, self.base_rates(quick), self.policy)
        plan = self.prompts.quick if quick else self.prompts.choice
        return {"rates": found, "prompts": plan.total, "worst": loss, "worst_metric": metric,
                "task_success": found.get("task_success", 0.0)}  # fmt: skip

    def _rates(self, model: LoadedModel, name: str, *, quick: bool) -> dict[str, float]:
        plan = self.prompts.quick if quick else self.prompts.choice
        name = f"repair/{self.arm}/{name}{'@quick' if quick else ''}"
        return rates(evaluate(self.run, plan, name, self.arm, model), judges_of(plan))

    def _base_rates(self, quick: bool) -> dict[str, float]:
        return self._rates(self.run.base, "base", quick=quick)

    def _task(self) -> float:
        """Task success of the failed run on the validation rows."""
        model = self.run.load_result(self.failed.result)
        return self._rates(model, "run", quick=True).get("task_success", 0.0)

    def _load(self, folder: Path) -> LoadedModel:
        """A candidate; an adapter sits on what the failed arm's own adapter sits on."""
        if kind_of(folder) == "merged":
            return self.run.load(folder=folder)
        return self.run.load(adapter=folder, folder=self.run.start_of(self.failed.result))

    def _gate(self, method: str, folder: Path) -> Answer:
        """Ask the gate once: the run's policy at the level of this ask, on its frozen prompts."""
        run, plan, model = self.run, self.failed.gate_plan, self._load(folder)
        name = f"{self.arm}, repaired by {method}"
        path = evaluate(run, plan, f"repair/{self.arm}/{method}/gate", name, model)
        base = load_completions(run.store.path(f"completions/{BASE}.jsonl"))
        candidate = load_completions(path)
        ask = self._number(model.digest)
        policy = self.policy.model_copy(update={"alpha": level(self.policy.alpha, ask)})
        verdict = gate(base, candidate, judge=judges_of(plan), policy=policy, arm=name)
        place = f"{self.folder}/{method}/{VERDICT}"
        inputs = {"model": model.digest, "base": base.digest, "policy": policy.digest()}
        run.store.finish(place, verdict, inputs)
        place = place.removesuffix(".json")
        write_text(run.store.path(f"{place}.junit.xml"), junit.render([verdict]))
        write_text(run.store.path(f"{place}.md"), markdown.render([verdict]))
        return Answer(verdict, self._task_kept(candidate), ask)

    def _number(self, model: str) -> int:
        """Number of the ask about `model` among all that repairs of this arm ever made."""
        asked = [
            entry.payload["inputs"]["model"]
            for entry in self.run.store.journal.entries()
            if entry.payload.get("name", "").startswith(f"{self.folder}/")
            and entry.payload["name"].endswith(f"/{VERDICT}")
            and "model" in entry.payload["inputs"]
        ]
        return list(dict.fromkeys([*asked, model])).index(model) + 1

    def _task_kept(self, candidate: Any) -> Comparison:
        """Held-out task success, failed run against candidate, on the gate's task rows."""
        failed = load_completions(self.run.store.path(f"completions/{self.arm}.jsonl"))
        policy = Policy(
            metrics={"task_success": MetricPolicy(margin=TASK_MARGIN)}, alpha=self.policy.alpha,
            eligibility=Eligibility(minimum_refusal=0.0),
        )  # fmt: skip
        found = compare(
            failed, candidate, judge=judges_of(self.failed.gate_plan), policy=policy,
            allow_identical=True,
        )  # fmt: skip
        if not found:
            raise DataError("no held-out task row was scored for both models")
        return found[0]

    def _seal(self, record: RepairRecord) -> None:
        """Put the repaired model into the vault, with its lineage."""
        if not record.artefact:
            return
        folder = self.run.store.path(record.artefact)
        kind, vault = kind_of(folder), Vault(self.run.vault)
        parents = [self.run.base_digest]
        if kind == "adapter":
            parents = [describe(self.run.start_of(self.failed.result)).model_digest]
        elif record.failed in {entry.ref.model_digest for entry in vault.list()}:
            parents.append(record.failed)
        name = f"{self.run.plan.name}-{self.arm}-repaired-{record.model_digest[:8]}"
        note = f"{record.failed} repaired by {record.method}"
        vault.add(folder, name, kind=kind, parents=parents, note=note)

    def _report(self, record: RepairRecord) -> None:
        """Draw the report again, unless it shows exactly this repair."""
        store, name = self.run.store, "report.html"
        inputs = {"verdict": self.failed.verdict.digest(), "repair": record.digest()}
        if not store.finished(name, inputs):
            self.run.progress("write the report", 0, 0)
            path = store.path(name)
            write_report(load_run(store.folder), path)
            store.finish(name, path, inputs)
