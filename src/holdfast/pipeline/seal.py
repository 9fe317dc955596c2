"""Stage: seal the base. Fine-tuning starts from a snapshot; the sealed copy is never opened."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.errors import IntegrityError
from holdfast.pipeline.context import BASE, Run
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
    ref = vault.add(folder, Path(run.plan.model.source).name)
    if faults := vault.verify(ref.model_digest):
        raise IntegrityError(
            f"the sealed base {ref.name} has changed: {'; '.join(map(str, faults))}",
            next_step="seal it again from a trusted copy",
        )
    run.base_ref = ref
    inputs = {"model": ref.model_digest}
    if not run.store.finished(BASE, inputs):
        vault.snapshot(ref.model_digest, run.base_folder)
        run.store.finish(BASE, run.base_folder, inputs)


def seal_result(run: Run, arm: str, folder: Path) -> None:
    """Seal the result of `arm` beside its base, so that it can be promoted and rolled back."""
    kind = "adapter" if run.plan.train.tuner == "lora" else "merged"
    Vault(run.vault).add(folder, f"{run.plan.name}-{arm}", kind=kind, parents=(run.base_digest,))
