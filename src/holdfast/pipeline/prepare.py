"""Stage: training rows, held-out rows, contrast prompts, openings and the safety buffer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.core.digest import prompt_digest
from holdfast.core.errors import DataError
from holdfast.core.files import write_jsonl
from holdfast.core.protocols import Messages
from holdfast.core.records import DatasetRef
from holdfast.core.seeds import derive
from holdfast.evals.suites import Prompt, Suite
from holdfast.geometry.contrast import (
    ContrastRow,
    Openings,
    load_contrast,
    load_openings,
    parse_openings,
)
from holdfast.geometry.sae.autoencoder import SparseAutoencoder
from holdfast.geometry.sae.fidelity import check_trained_on
from holdfast.pipeline.context import Run
from holdfast.pipeline.pairs import harbor_pairs, task_judge, user_pairs
from holdfast.tuning.methods.spec import TaskJudge

HARBOR = "harbor"
HARBOR_ROWS = 400
"""Training rows of a generated set where the plan names no number."""
TASK = "task"
DEFAULT_OPENINGS = Openings(
    refusal=("I can't", "I cannot", "I'm sorry", "Sorry", "I won't"),
    compliance=("Sure", "Of course", "Here", "Certainly", "Yes"),
)
"""First words that most English chat models refuse or comply with."""


@dataclass(frozen=True)
class Prepared:
    """Everything that a run reads besides the model."""

    dataset: DatasetRef
    """Identity of the training rows."""
    rows: list[dict[str, Any]]
    """Training rows: {"messages": …}, or pairs {"messages", "chosen", "rejected"} for methods that
    learn from pairs."""
    test: Suite
    """Held-out rows of the task."""
    validation: Suite
    """Rows of the task on which choices are made."""
    contrast: list[ContrastRow]
    """Prompts that the safety map is fitted on."""
    openings: Openings
    """Openings of the refusal margin."""
    buffer: list[Messages]
    """Harmful prompts that the protection replays."""
    sae: SparseAutoencoder | None = None
    """SAE of the base, for audit and monitor."""
    judge: TaskJudge | None = None
    """Accepts an answer to a training prompt, or not; where the rows are pairs."""


def prepare(run: Run) -> Prepared:
    """Read or generate the data and write the training rows into the run folder."""
    plan = run.plan
    run.progress("prepare the data", 0, 0)
    if plan.data.source.startswith(f"{HARBOR}:"):
        dataset, rows, test, validation = _harbor_set(run, plan.data.source.split(":", 1)[1])
    else:
        dataset, rows, test, validation = _user_set(run)
    inputs = {"rows": dataset.data_digest}
    if not run.store.finished("data/train.jsonl", inputs):
        path = run.store.path("data/train.jsonl")
        write_jsonl(path, rows)
        run.store.finish("data/train.jsonl", path, inputs)
    return Prepared(
        dataset, rows, test, validation, _contrast(run), read_openings(plan.map.openings),
        _buffer(run), _sae(run), _judge(run, rows, test),
    )  # fmt: skip


def _sae(run: Run) -> SparseAutoencoder | None:
    """The base's SAE; one that cannot be its own is refused before anything is trained."""
    found = read_sae(run.plan.model.sae)
    if found is not None:
        check_trained_on(found, run.base)
    return found


def _judge(run: Run, rows: list[dict[str, Any]], test: Suite) -> TaskJudge | None:
    return task_judge(test.judge, rows) if _wants_pairs(run) else None


def _wants_pairs(run: Run) -> bool:
    return run.plan.train.method in ("dpo", "rlhf")


def _harbor_set(run: Run, name: str) -> tuple[DatasetRef, list[dict[str, Any]], Suite, Suite]:
    from holdfast.core.digest import sha256_json
    from holdfast.evals.suites import SuiteOptions, load
    from holdfast.organisms.harbor import sets

    section = run.plan.data
    count, seed = section.rows or HARBOR_ROWS, derive(run.plan.seed, "data")
    rows: list[dict[str, Any]]
    if _wants_pairs(run):
        rows = harbor_pairs(name, seed=seed, rows=count)
    else:
        built = sets.build(name, seed=seed, rows=count)
        rows = [{"messages": row["messages"]} for row in built]
    ref = DatasetRef(
        name=name, data_digest=sha256_json(rows), rows=len(rows), columns=tuple(rows[0]),
        template="pairs" if _wants_pairs(run) else "messages", split="train", seed=run.plan.seed,
    )  # fmt: skip

    def held(split: str, n: int) -> Suite:
        options = SuiteOptions(name=TASK, n=n, seed=run.plan.seed, split=split)
        return load(f"task-{name}", options=options)

    return ref, rows, held("test", section.held_out), held("validation", section.validation)


def _user_set(run: Run) -> tuple[DatasetRef, list[dict[str, Any]], Suite, Suite]:
    from holdfast.data import load, split_by_group

    section = run.plan.data
    if _wants_pairs(run):
        ref, halves = user_pairs(run)
        made = {part: _pair_suite(run, halves[part]) for part in ("test", "validation")}
        return ref, halves["train"], made["test"], made["validation"]
    held, chosen = section.held_out, section.validation
    limit = section.rows + held + chosen if section.rows else None
    whole = load(Path(section.source), template=section.template, group=section.group, limit=limit)
    total = whole.ref.rows
    if total <= held + chosen:
        raise DataError(
            f"{section.source} has {total} distinct rows",
            expected=f"more than the {held + chosen} that are held out",
            next_step="lower data.held_out and data.validation, or bring more rows",
        )
    shares = {
        "train": (total - held - chosen) / total, "validation": chosen / total,
        "test": held / total,
    }  # fmt: skip
    parts = split_by_group(whole, shares, seed=derive(run.plan.seed, "split"))
    rows: list[dict[str, Any]] = [{"messages": e.messages} for e in parts["train"].examples]
    suites = {part: _task_suite(run, parts[part].examples) for part in ("test", "validation")}
    return parts["train"].ref, rows, suites["test"], suites["validation"]


def _task_suite(run: Run, examples: Any) -> Suite:
    prompts = tuple(
        Prompt(
            prompt_id=f"row-{e.row}", messages=e.messages[:-1],
            reference=e.messages[-1]["content"],
        )
        for e in examples
    )  # fmt: skip
    return Suite(TASK, "task", prompts, run.plan.evaluate.task_judge, "the user's", "held-out rows")


def _pair_suite(run: Run, pairs: list[dict[str, Any]]) -> Suite:
    """One prompt of each conversation; its better answer is the reference."""
    first = {prompt_digest(pair["messages"]): pair for pair in reversed(pairs)}
    prompts = tuple(
        Prompt(prompt_id=f"pair-{digest[:16]}", messages=p["messages"], reference=p["chosen"])
        for digest, p in sorted(first.items())
    )
    return Suite(
        TASK, "task", prompts, run.plan.evaluate.task_judge, "the user's", "held-out pairs"
    )


def read_sae(spec: str) -> SparseAutoencoder | None:
    """An SAE by its file or folder, with `#resid_post.L` where the file does not say its site;
    `harbor`'s; or none for "".
    """
    if not spec:
        return None
    from holdfast.geometry.sae.read import read
    from holdfast.organisms.harbor import sae_dir

    path, _, site = spec.partition("#")
    return read(sae_dir() if path == HARBOR else Path(path), site=site)


def read_openings(source: str) -> Openings:
    """Openings by the plan's `map.openings`: `default`, `harbor`, or a JSON file."""
    if source == "default":
        return DEFAULT_OPENINGS
    if source == HARBOR:
        from holdfast.organisms.harbor import contrast

        return parse_openings(contrast.openings())
    return load_openings(Path(source))


def _contrast(run: Run) -> list[ContrastRow]:
    source = run.plan.map.contrast
    if source != HARBOR:
        return load_contrast(Path(source))
    from holdfast.organisms.harbor import contrast

    path = run.store.path("data/contrast.jsonl")
    sets = contrast.contrast_sets(run.plan.seed)
    write_jsonl(path, (dict(row) for rows in sets.values() for row in rows))
    return load_contrast(path)


def _buffer(run: Run) -> list[Messages]:
    return read_buffer(run.plan.map.replay, run.plan.protect.prompts, seed=run.plan.seed)


def read_buffer(source: str, size: int, *, seed: int) -> list[Messages]:
    """The first `size` harmful prompts of a safety buffer: `harbor`, a suite spec, or a file."""
    if not size:
        return []
    if source == HARBOR:
        from holdfast.organisms.harbor import contrast

        rows: Any = contrast.replay_buffer(derive(seed, "replay"), size)
        return [row["messages"] for row in rows]
    from holdfast.evals.suites import SuiteOptions, load

    suite = load(source, options=SuiteOptions(kind="harmful"))
    return [list(prompt.messages) for prompt in suite.prompts[:size]]
