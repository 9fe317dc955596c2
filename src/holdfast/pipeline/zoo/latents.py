"""The SAE of a base of the zoo with its harmful latents, kept beside the base's map.

Members store the activations of every layer, so streams of latents need no member trained again.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from holdfast.core.errors import DataError, HoldfastError, IntegrityError
from holdfast.core.files import write_text
from holdfast.geometry.fitted import FittedMap
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


def keep(store: Path, name: str, base: Path, sae: Path | None) -> bool:
    """Choose the harmful latents of an SAE on its base and keep both in the zoo `store`.

    Args:
        store: the zoo's folder.
        name: folder of the base's map in it.
        base: folder of the untouched base.
        sae: its SAE; the shipped one where None and the base is the one it was trained on.

    Returns:
        Whether the store holds an SAE of the base now.

    Raises:
        UsageError: the SAE is not of the base.
        DataError: none of its latents follows harm.
        IntegrityError: the store is of another base, or holds another SAE.
    """
    folder, digest = folder_of(store, name), describe(base).model_digest
    if (store / name).is_dir() and FittedMap.load(store / name).record.base != digest:
        raise _mixed(store / name, "the map of another base")
    held = open_latents(folder, digest)
    given = read(sae) if sae is not None else None
    if held is not None:
        if given is not None and given.digest() != held.sae.digest():
            raise _mixed(folder, "another SAE")
        return True
    shipped = read(sae_dir())
    if given is None and shipped.notes.get("model") != digest:
        return False
    found = Latents.choose(given or shipped, load(base, device="cpu"), contrast_rows())
    write(found.sae, folder)
    chosen = {"sae": read(folder).digest(), "base": digest, **asdict(found.harmful)}
    write_text(folder / HARMFUL_FILE, json.dumps(chosen, indent=1))
    return True


def _mixed(folder: Path, what: str) -> IntegrityError:
    return IntegrityError(
        f"{folder} is {what}", next_step="give bases and SAEs in the order of the build, or the "
        "zoo another folder",
    )  # fmt: skip


def open_latents(folder: Path, base: str) -> Latents | None:
    """What `keep` wrote for the base of this digest; None where it wrote nothing.

    Raises:
        IntegrityError: it belongs to another base or SAE, or cannot be read.
    """
    path = folder / HARMFUL_FILE
    if not path.is_file():
        return None
    try:
        sae = read(folder)
        found = json.loads(path.read_text("utf-8"))
        if (found.pop("sae"), found.pop("base")) != (sae.digest(), base):
            raise DataError("another base or SAE")
        chosen = HarmfulLatents(
            tuple(map(int, found["latents"])), tuple(map(float, found["correlations"])),
            float(found["null"]), tuple(tuple(map(int, row)) for row in found["permuted"]),
        )  # fmt: skip
        sets = (chosen.latents, *chosen.permuted)
        if not all(0 <= i < sae.latents for row in sets for i in row):
            raise DataError("latents that the SAE does not have")
        if len({len(row) for row in sets}) > 1:
            raise DataError("permuted sets of another size")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, HoldfastError) as error:
        raise IntegrityError(
            f"{path} does not match its SAE", got=str(error)[:80],
            next_step=f"remove {folder} and build the zoo again: no member is trained anew",
        ) from None  # fmt: skip
    return Latents(sae, chosen)
