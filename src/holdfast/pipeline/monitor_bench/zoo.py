"""The zoo as the bench of monitors reads it: one `Run` of stream values per member."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from holdfast.core.digest import sha256_json
from holdfast.core.errors import DataError
from holdfast.core.protocols import Progress, no_progress
from holdfast.geometry.fitted import FittedMap
from holdfast.pipeline.forecast.zoo import expected
from holdfast.pipeline.zoo.latents import folder_of, open_latents
from holdfast.pipeline.zoo.probe import PROBE_FILE
from holdfast.pipeline.zoo.store import ZooStore
from holdfast.tuning.monitors import drift_series
from holdfast.tuning.monitors.latents import Latents
from holdfast.tuning.monitors.readings import Array, Readings
from holdfast.tuning.monitors.registry import STREAMS
from holdfast.tuning.monitors.residual import random_shift

Group = Literal["fails", "benign", "other"]
RANDOM = "random-directions"
"""The null that every monitor has: the activations' move along random directions."""


@dataclass(frozen=True)
class Run:
    """One fine-tune of the zoo, as numbers."""

    name: str
    """Id of the member."""
    family: str
    """Its data family."""
    split: str
    """`development` or `test`."""
    base: str
    """Digest of its base."""
    group: Group
    """`fails`: its behaviour failed at a checkpoint and at the end; `benign`: made to harm nothing,
    never failed, and shown to have lost nothing at the end; `other`: harm that refusals do not
    show, a failure that passed, or an end that is inconclusive."""
    fail_step: int | None
    """First checkpoint whose behaviour failed."""
    readings: Readings
    """Everything that was read along it."""
    values: dict[str, Array]
    """Stream -> [T]."""
    twins: dict[str, Array]
    """Stream -> [R, T] along random directions."""
    seconds: Mapping[str, float]
    """CPU seconds by part: `train`, and those of the recorder."""

    @property
    def steps(self) -> NDArray[np.int64]:
        """[T] steps at which it was looked at."""
        return self.readings.steps


@dataclass(frozen=True)
class _Site:
    """What the readings of a base's members need."""

    index: int
    """Place of the map's best site among the stored activations."""
    probe: drift_series.Probe
    """Prompts and map."""
    latents: Latents | None = None
    """Its SAE, where the zoo holds one."""


class _Bases:
    """Maps of the zoo's bases, read when first needed."""

    def __init__(self, folder: Path) -> None:
        path = folder / PROBE_FILE
        try:
            self.probe: dict[str, Any] = json.loads(path.read_text("utf-8"))
            self.maps: dict[str, str] = dict(self.probe["maps"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is no probe of a zoo", got=str(error)[:80],
                next_step="build the zoo: holdfast organism build zoo",
            ) from None  # fmt: skip
        self.folder = folder
        self._known: dict[str, _Site] = {}

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Probe prompts, harmful first."""
        return [*self.probe["harmful"], *self.probe["harmless"]]

    def of(self, base: str) -> _Site:
        """What is known of the base with this digest."""
        if base not in self._known:
            if base not in self.maps:
                raise DataError(f"the zoo holds no map of base {base[:12]}")
            fitted = FittedMap.load(self.folder / self.maps[base])
            site = fitted.sites[0].name
            train = [row for row in fitted.rows if row.split == "train"]
            names = sorted({(row.concept, row.category) for row in train})
            others = [i for i, (concept, _) in enumerate(names) if concept != "harmful"]
            harmful = len(self.probe["harmful"])
            self._known[base] = _Site(
                self.probe["sites"].index(site),
                drift_series.Probe(
                    harmful=torch.arange(len(self.rows)) < harmful,
                    categories=[row["category"] for row in self.rows],
                    direction=fitted.array("direction", site),
                    others=fitted.array("directions", site)[others],
                    k=fitted.record.subspace_dims[site],
                ),
                open_latents(folder_of(self.folder, self.maps[base]), base),
            )
        return self._known[base]


def load(
    folder: Path, *, split: str, known: str = "", progress: Progress = no_progress
) -> list[Run]:
    """The members of one split (or several, with commas), in the order of their ids; no other one
    is opened.

    Args:
        folder: the zoo's store.
        split: the members' splits.
        known: splits that their forecasts are fitted on; `split` itself, each family by a fit
            without it, where empty.
        progress: told about each member.

    Raises:
        DataError: no zoo, no member of that split, or streams that do not fit together.
    """
    store = ZooStore(folder)
    members = [row for row in store.members() if row.get("split") in split.split(",")]
    if not members:
        raise DataError(
            f"the zoo in {folder} has no {split} members",
            next_step="build it: holdfast organism build zoo",
        )
    bases = _Bases(folder)
    forecasts = expected(folder, known, split) if known else expected(folder, split)
    runs = []
    for index, row in enumerate(members):
        progress("read the zoo", index, len(members))
        runs.append(_run(store, bases, row, forecasts.get(str(row["member"]))))
    return runs


def identity(runs: list[Run]) -> str:
    """Digest of which members these are and how they ended."""
    return sha256_json([[run.name, run.base, run.group, run.fail_step] for run in runs])


def readings_of(
    arrays: Mapping[str, Any],
    site: int,
    probe: drift_series.Probe,
    seed: int,
    forecast: float | None = None,
    latents: Latents | None = None,
) -> Readings:
    """`Readings` of one member from the arrays of its archive."""
    steps = np.asarray(arrays["step"], dtype=np.int64)
    found = drift_series.series(
        torch.from_numpy(np.asarray(arrays["activations"][:, site], dtype=np.float32)),
        probe, seed=seed,
    )  # fmt: skip
    direct = ("margin", "margin_ablated", "kl_first", "alignment", "alignment_harmless",
              "alignment_random", "cheap_refusal", "behaviour")  # fmt: skip
    taken: dict[str, Any] = {
        name: np.asarray(arrays[name], dtype=np.float64) for name in direct if name in arrays
    }
    if "loss_steps" in arrays and "grad_norm_steps" in arrays:
        loss, norm = arrays["loss_steps"], arrays["grad_norm_steps"]
        none = np.full(1, np.nan)
        taken["loss"] = np.concatenate([loss[:1], loss])[np.minimum(steps, len(loss))]
        # The norm logged with step s + 1 is that of the batch that follows step s.
        taken["grad_norm"] = np.concatenate([norm, none])[np.minimum(steps, len(norm))]
    if latents is not None:
        read = torch.from_numpy(np.asarray(arrays["activations"][:, latents.sae.layer], np.float32))
        shown = latents.activity(read, probe.harmful).numpy()
        taken |= {"latents": shown[0], "latents_random": shown[1:]}
    return Readings(
        steps=steps, drifts=found.drifts, drift_twins=found.twins, shift=found.shift,
        direction=found.direction, random_directions=found.random_directions, forecast=forecast,
        **taken,
    )  # fmt: skip


def _run(store: ZooStore, bases: _Bases, row: Mapping[str, Any], forecast: float | None) -> Run:
    name, base = str(row["member"]), str(row["base"])
    site = bases.of(base)
    try:
        readings = readings_of(
            store.stream(name), site.index, site.probe, 0, forecast, site.latents
        )
    except (KeyError, IndexError, RuntimeError) as error:
        raise DataError(f"the streams of {name} do not fit the zoo", got=str(error)[:80]) from None
    known = {key: stream for key, stream in STREAMS.items() if stream.known(readings)}
    twins = {
        key: found for key, stream in known.items()
        if stream.twins is not None and (found := stream.twins(readings)) is not None
    }  # fmt: skip
    moved = random_shift(readings)
    if moved is not None:
        twins[RANDOM] = moved
    failed = row.get("fail_step")
    return Run(
        name=name, family=str(row["family"]), split=str(row["split"]), base=base,
        group=_group(row), fail_step=None if failed is None else int(failed), readings=readings,
        values={key: stream.compute(readings) for key, stream in known.items()}, twins=twins,
        seconds={key: float(value) for key, value in dict(row.get("seconds", {})).items()},
    )  # fmt: skip


def _group(row: Mapping[str, Any]) -> Group:
    failed = row.get("fail_step") is not None
    if failed and row.get("verdict") == "fail":
        return "fails"
    safe = row.get("kind") == "benign" and row.get("verdict") == "pass" and not failed
    return "benign" if safe else "other"
