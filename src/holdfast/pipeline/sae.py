"""What the SAE commands need of several parts at once: texts, contrast sets, models, suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Literal

from torch import Tensor

from holdfast.core.digest import sha256_json
from holdfast.core.errors import DataError, UsageError
from holdfast.core.files import read_jsonl
from holdfast.core.protocols import Messages, Progress, no_progress
from holdfast.core.seeds import derive
from holdfast.data.template import detect, to_messages
from holdfast.geometry.contrast import HARMFUL, ContrastRow, load_contrast, select
from holdfast.geometry.sae.autoencoder import SparseAutoencoder
from holdfast.geometry.sae.diff import compare
from holdfast.geometry.sae.edit import EditedModel, LatentEdit
from holdfast.geometry.sae.features import harmful_latents, training_rows
from holdfast.geometry.sae.fidelity import check_fits
from holdfast.geometry.sae.records import SaeDiff
from holdfast.geometry.sae.tokens import Text
from holdfast.models.activations import last_prompt
from holdfast.models.loaded import LoadedModel

HARBOR = "harbor"
"""In place of a file: the corpus, or the contrast set, of the embedded model."""
Direction = Literal["rose", "fell", "both"]


def texts(source: str, *, rows: int, seed: int, held_out: bool = False) -> list[Text]:
    """Rows to read activations from: `harbor`, or JSON Lines with conversations or `text`.

    Of a file, one row in ten is held out by a draw that does not depend on `rows`; of harbor's
    corpus the held-out rows are another stream.

    Raises:
        DataError: no such file, or rows without text.
    """
    if source == HARBOR:
        from holdfast.organisms.harbor import corpus

        name = f"holdfast-sae|{seed}|{'held out' if held_out else 'train'}"
        return [row.document or list(row.messages) for row in corpus.rows(name, rows)]
    read = read_jsonl(Path(source))
    if not read:
        raise DataError(f"{source} is empty")
    order = list(range(len(read)))
    Random(derive(seed, "sae", "rows")).shuffle(order)
    cut = max(1, len(order) // 10)
    chosen = (order[:cut] if held_out else order[cut:] or order)[:rows]
    template = "" if "text" in read[0] else detect(read[0])
    return [_text(read[i], template, f"{source}, row {i + 1}") for i in chosen]


def contrast_rows(source: str) -> list[ContrastRow]:
    """A contrast set from a file, or harbor's."""
    if source != HARBOR:
        return load_contrast(Path(source))
    from holdfast.organisms.harbor.contrast import contrast_sets

    return [
        ContrastRow(**row)  # type: ignore[arg-type]  # as in audit_sources
        for row in contrast_sets(0)[HARMFUL]
    ]


def diff(
    base: LoadedModel, candidate: LoadedModel, sae: SparseAutoencoder, rows: Sequence[ContrastRow],
    *, count: int, seed: int, batch_size: int = 32, progress: Progress = no_progress,
) -> SaeDiff:  # fmt: skip
    """Compare two models in latents at the last token of the harmful test prompts of `rows`.

    The harmful latents, `count` at most, come from the base on the training split.

    Raises:
        UsageError: the SAE does not fit a model.
        DataError: no harmful latents, or too few test prompts.
    """
    for model in (base, candidate):
        check_fits(sae, model)
    progress("choosing harmful latents", 0, 3)
    chosen = training_rows(rows)
    codes = _codes(base, sae, [row.messages for row in chosen], batch_size)
    harmful = harmful_latents(codes, chosen, count=count, seed=seed)
    asked = [rows[i] for i in select(rows, "test", HARMFUL) if rows[i].label == 1]
    conversations = [row.messages for row in asked]
    progress("reading the base", 1, 3)
    before = _codes(base, sae, conversations, batch_size)
    progress("reading the candidate", 2, 3)
    after = _codes(candidate, sae, conversations, batch_size)
    inputs = {
        "sae": sae.digest(), "base": base.digest, "candidate": candidate.digest,
        "contrast": sha256_json([asdict(row) for row in rows]),
    }  # fmt: skip
    return compare(sae, before, after, harmful, seed=seed, inputs=inputs)


def edits_of(
    record: SaeDiff, *, which: Direction, top: int, random: int | None = None
) -> tuple[LatentEdit, ...]:
    """Edits that take back a diff: what rose is held down to its mean in the base, what fell up.

    Args:
        record: the diff.
        which: what to take back.
        top: how many latents of each kind, largest change first.
        random: seed of the control: the same values on random latents that fire and did not move.

    Raises:
        UsageError: nothing moved in that direction, or too few latents for the control.
    """
    kinds: Mapping[str, Sequence[tuple[int, float]]] = {
        "at-most": [(c.latent, c.before) for c in record.rose[:top] if which != "fell"],
        "at-least": [(c.latent, c.before) for c in record.fell[:top] if which != "rose"],
    }
    total = sum(len(listed) for listed in kinds.values())
    if not total:
        raise UsageError(f"the diff lists no latent that {which}", next_step="try another --which")
    drawn: list[int] = []
    if random is not None:
        if len(record.unmoved) < total:
            raise UsageError("too few latents for a random control", got=str(len(record.unmoved)))
        drawn = Random(derive(random, "sae", "control")).sample(list(record.unmoved), total)
    edits = []
    for how, listed in kinds.items():
        for latent, value in listed:
            target = drawn.pop() if drawn else latent
            edits.append(LatentEdit.model_validate(
                {"latents": (target,), "how": how, "value": value}
            ))  # fmt: skip
    return tuple(edits)


def answer(
    model: EditedModel, specs: Sequence[str], out: Path, *, arm: str, per_suite: int | None,
    seed: int, max_new_tokens: int, batch_size: int, progress: Progress = no_progress,
) -> int:  # fmt: skip
    """Answer suites with the edits in place, as `holdfast eval` does; the number of answers."""
    from holdfast.evals.judges import make
    from holdfast.evals.plan import freeze, within
    from holdfast.evals.runner import run
    from holdfast.evals.suites import load_all

    suites = load_all(specs)
    judges = {suite.judge: make(suite.judge) for suite in suites}
    fits = within(
        lambda messages: len(model.loaded.render(messages)),
        context=model.loaded.max_context, max_new_tokens=max_new_tokens,
    )  # fmt: skip
    plan = freeze(suites, per_suite=per_suite, seed=seed, fits=fits)
    run(
        model, plan, judges, out=out, cache=out.with_name(f"{out.name}.cache"), arm=arm,
        max_new_tokens=max_new_tokens, batch_size=batch_size, progress=progress,
    )  # fmt: skip
    return plan.total


def _codes(
    model: LoadedModel, sae: SparseAutoencoder, conversations: Sequence[Messages], size: int
) -> Tensor:
    return sae.encode(last_prompt(model, conversations, [sae.layer], batch_size=size)[sae.layer])


def _text(row: dict[str, object], template: str, where: str) -> Text:
    if template:
        return to_messages(row, template, where)
    value = row.get("text")
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: 'text' is empty or no text", expected="text")
    return value
