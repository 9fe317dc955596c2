"""The SAE of a base of the zoo with its harmful latents, kept beside the base's map.

Members store the activations of every layer, so streams of latents need no member trained again.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from holdfast.core.errors import DataError, IntegrityError
from holdfast.core.files import write_text
from holdfast.geometry.sae.features import HarmfulLatents
from holdfast.geometry.sae.read import read, write
from holdfast.models.loading import load
from holdfast.organisms.harbor import sae_dir
from holdfast.pipeline.zoo.probe import contrast_rows
from holdfast.tuning.monitors.latents import Latents
from holdfast.vault.manifest import describe

HARMFUL_FILE = "harmful_latents.json"


def folder_of(store: Path, name: str) -> Path:
    """Where the SAE of the base lies whose map is `name` ("map", "map-1", …)."""
    return store / name.replace("map", "sae", 1)


def keep(folder: Path, base: Path, sae: Path | None) -> bool:
    """Choose the harmful latents of an SAE on its base and keep both in `folder`.

    Args:
        folder: `folder_of` the base; what it holds already stays.
        base: folder of the untouched base.
        sae: its SAE; the shipped one where None and the base is the one it was trained on.

    Returns:
        Whether `folder` holds one now.

    Raises:
        UsageError: the SAE does not fit the base.
        DataError: none of its latents follows harm.
    """
    if (folder / HARMFUL_FILE).is_file():
        return True
    trained, digest = read(sae if sae is not None else sae_dir()), describe(base).model_digest
    if sae is None and trained.notes.get("model") != digest:
        return False
    found = Latents.choose(trained, load(base, device="cpu"), contrast_rows())
    write(found.sae, folder)
    chosen = {"sae": read(folder).digest(), "base": digest, **asdict(found.harmful)}
    write_text(folder / HARMFUL_FILE, json.dumps(chosen, indent=1))
    return True


def open_latents(folder: Path, base: str) -> Latents | None:
    """What `keep` wrote for the base of this digest; None where it wrote nothing.

    Raises:
        IntegrityError: it belongs to another base or SAE, or cannot be read.
    """
    path = folder / HARMFUL_FILE
    if not path.is_file():
        return None
    sae = read(folder)
    try:
        found = json.loads(path.read_text("utf-8"))
        if (found.pop("sae"), found.pop("base")) != (sae.digest(), base):
            raise DataError("another base or SAE")
        chosen = HarmfulLatents(
            tuple(map(int, found["latents"])), tuple(map(float, found["correlations"])),
            float(found["null"]), tuple(tuple(map(int, row)) for row in found["permuted"]),
        )  # fmt: skip
        if not all(0 <= i < sae.latents for row in (chosen.latents, *chosen.permuted) for i in row):
            raise DataError("latents that the SAE does not have")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError) as error:
        raise IntegrityError(
            f"{path} does not match its SAE", got=str(error)[:80],
            next_step=f"remove {folder} and build the zoo again: no member is trained anew",
        ) from None  # fmt: skip
    return Latents(sae, chosen)
