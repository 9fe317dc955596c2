"""Binding an attestation to the weights beside it, and refusing weights that have none."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.digest import sha256_file
from holdfast.core.errors import DataError, IntegrityError, RefusedError
from holdfast.core.records import Attestation
from holdfast.vault.manifest import parts

FILE = "holdfast_attestation.json"
"""Name of the record in the folder with the weights."""


def clear(folder: Path) -> None:
    """Remove the attestation of an earlier training into `folder`."""
    (folder / FILE).unlink(missing_ok=True)


def seal(folder: Path, record: Attestation) -> Attestation:
    """Write `record` into `folder`, with the digests of the weight files that lie there.

    Raises:
        DataError: no weights lie there.
    """
    whole = record.model_copy(update={"files": _weights(folder)})
    whole.save(folder / FILE)
    return whole


def verify(folder: Path) -> Attestation:
    """The attestation of the weights in `folder`.

    Raises:
        RefusedError: there is none, or it says that the run was not guarded throughout.
        IntegrityError: it is not readable, or belongs to other weights.
        DataError: no weights lie there.
    """
    files = _weights(folder)
    if not (folder / FILE).is_file():
        raise RefusedError(
            f"nothing shows that Holdfast saw the training of {folder}",
            expected=f"{FILE} beside the weights",
            next_step="look in the training log for a plugin or callback that was not loaded, and "
            "train again",
        )
    record = Attestation.load(folder / FILE)
    if changed := sorted(n for n in {*files, *record.files} if files.get(n) != record.files.get(n)):
        raise IntegrityError(
            f"{FILE} belongs to other weights: {changed[0]} is not the file that was attested",
            next_step="train again, or restore the attested files",
        )
    if fault := incomplete(record):
        raise RefusedError(
            f"the training of {folder} was not guarded throughout",
            got=fault,
            next_step="do not use this model as a protected one",
        )
    return record


def incomplete(record: Attestation) -> str:
    """Why a record attests nothing; empty where it does."""
    if record.steps < 1:
        return "no step seen"
    for report in record.protections:
        if not report.guarded == report.due > 0:
            return f"{report.name} on {report.guarded} of {report.due} steps"
    if not record.protections and not record.watched:
        return "neither a protection nor an observation"
    return ""


def _weights(folder: Path) -> dict[str, str]:
    found = {n: sha256_file(p) for n, p in parts(folder).items() if n.endswith(".safetensors")}
    if not found:
        raise DataError(f"{folder} holds no weights", expected="safetensors files")
    return found
