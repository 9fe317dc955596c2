"""Stage: seal the base. Fine-tuning starts from a snapshot; the sealed copy is never opened."""

from __future__ import annotations

import shutil
from pathlib import Path

from holdfast.core.errors import IntegrityError
from holdfast.core.records import ModelRef
from holdfast.pipeline.context import BASE, Run
from holdfast.vault.manifest import describe
from holdfast.vault.store import Vault

HARBOR = "harbor"


def source_folder(source: str) -> Path:
    """The folder behind a plan's model: the embedded one, a folder, or a hub name."""
    if source == HARBOR:
        from holdfast.organisms import harbor

        return harbor.weights_dir()
    from holdfast.models.loading import resolve

    return resolve(source)


def seal(run: Run) -> None:
    """Seal the base, check its seal, and put a snapshot into the run folder."""
    run.progress("seal the base", 0, 0)
    folder = source_folder(run.plan.model.source)
    vault = Vault(run.vault)
    ref = vault.add(folder, _name(Path(run.plan.model.source).name, describe(folder)))
    if faults := vault.verify(ref.model_digest):
        raise IntegrityError(
            f"the sealed base {ref.name} has changed: {'; '.join(map(str, faults))}",
            next_step="seal it again from a trusted copy",
        )
    run.base_ref = ref
    inputs = {"model": ref.model_digest}
    if not run.store.finished(BASE, inputs):
        shutil.rmtree(run.base_folder, ignore_errors=True)  # of a run killed in between
        vault.snapshot(ref.model_digest, run.base_folder)
        run.store.finish(BASE, run.base_folder, inputs)


def seal_result(run: Run, arm: str, folder: Path) -> None:
    """Seal the result of `arm` beside its base, so that it can be promoted and rolled back."""
    from holdfast.tuning.artefacts import kind_of

    kind = kind_of(folder)
    start = run.start_of(folder)
    parents: tuple[str, ...] = (run.base_digest,)
    vault = Vault(run.vault)
    if kind == "adapter" and start != run.base_folder:
        quantised = describe(start)
        parents = (quantised.model_digest,)
        vault.add(
            start, _name(f"{run.plan.name}-nf4", quantised), kind="quantised",
            parents=(run.base_digest,),
        )  # fmt: skip
    ref = describe(start, folder) if kind == "adapter" else describe(folder)
    name = _name(f"{run.plan.name}-{arm}", ref)
    vault.add(folder, name, kind=kind, parents=parents)


def _name(stem: str, ref: ModelRef) -> str:
    """A name that no other content can take: what people call it, and eight digits of digest."""
    return f"{stem}-{ref.model_digest[:8]}"
