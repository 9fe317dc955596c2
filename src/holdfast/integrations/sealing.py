"""From a callback whose training is over to the attestation beside the weights."""

from __future__ import annotations

import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from holdfast.core.errors import InvalidRun
from holdfast.core.records import Attestation
from holdfast.tuning.callback import HoldfastCallback
from holdfast.vault import attest

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate")


def seal(folder: Path | str, callback: HoldfastCallback, *, framework: str = "") -> Attestation:
    """Attest the weights in `folder`, which were saved after training under `callback`.

    Call it on every process, after the final save; only the first one writes.

    Args:
        folder: where the trainer saved its result.
        callback: the callback that the trainer was given.
        framework: installed package that ran the training, such as `axolotl`.

    Raises:
        InvalidRun: training did not end under the callback, or was not guarded throughout.
        DataError: no safetensors weights lie in the folder.
    """
    protection = callback.protection
    settings = {p.name: p.settings() for p in protection.parts} if protection else {}
    record = Attestation(
        framework=f"{framework} {version(framework)}" if framework else "transformers Trainer",
        protection=json.dumps(settings, sort_keys=True) if settings else "none",
        steps=callback.weights_step,
        protections=callback.protection_reports(),
        watched=len(callback.points),
        alarms=tuple(callback.alarms),
        files={},
        environment={name: found for name in PACKAGES if (found := _version(name))},
    )
    fault = attest.incomplete(record) or ("" if callback.finished else "a training that goes on")
    if fault:
        raise InvalidRun(
            f"the weights in {folder} cannot be attested",
            got=fault,
            next_step="check that the trainer was given the callback and has ended",
        )
    if int(os.environ.get("RANK", "0")):
        return record
    return attest.seal(Path(folder), record)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
