"""`holdfast bench defenses`: protections and repairs side by side, with twins of equal size.

For every data set the configurations of all arms are tried once, on validation prompts, in a tuning
cell (the first base, a seed that is not reported), and fixed. Then every arm is made in every
reported cell, and its answers to the test prompts are written down. One line of JSON per arm and
cell: a killed bench goes on with the first line that is missing.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from holdfast.core.errors import HoldfastError, UsageError
from holdfast.core.files import read_jsonl, write_bytes
from holdfast.core.protocols import Progress, no_progress
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.organisms.harbor import sets
from holdfast.pipeline.defenses.arms import ARMS, Arm, chosen_arms
from holdfast.pipeline.defenses.cell import Cell
from holdfast.pipeline.defenses.choice import choose, rates
from holdfast.pipeline.defenses.make import Made, build
from holdfast.pipeline.defenses.measure import answers
from holdfast.tuning.artefacts import open_result

DATA = ("identity-shift", "contaminated-5", "obey-style")
VERSION = 1
"""Of the format of a row."""
TUNING_SEED = 90
"""Seed of the cell that configurations are chosen in."""


@dataclass(frozen=True)
class Setting:
    """What all arms share."""

    bases: tuple[Path, ...]
    """Folders of harbor bases."""
    cells: tuple[tuple[int, int], ...]
    """Reported (index of base, seed)."""
    data: tuple[str, ...] = DATA
    """Harbor sets that are learnt."""
    prompts: int = 60
    """Test prompts of each suite."""
    validation: int = 40
    """Validation prompts of each suite."""
    rows: int = 400
    """Training rows."""
    tuning_seed: int = TUNING_SEED
    """Seed of the tuning cell, on the first base."""

    def __post_init__(self) -> None:
        """Check that every cell has a base, and that no reported seed was tuned on."""
        for index, seed in self.cells:
            if not 0 <= index < len(self.bases):
                raise UsageError(
                    f"cell {index}:{seed} names base {index}",
                    expected=f"0 to {len(self.bases) - 1}, in the order of --base",
                )
            if seed == self.tuning_seed:
                raise UsageError(
                    f"cell {index}:{seed} has the seed that configurations are chosen on",
                    next_step="report another seed, or tune on another",
                )
        for name in self.data:
            sets.get_set(name)

    def shared(self) -> dict[str, Any]:
        """What rows must agree in to stand in one table."""
        return {
            "bench": VERSION, "prompts": self.prompts, "validation": self.validation,
            "rows": self.rows,
        }  # fmt: skip


def rotating(seeds: int, bases: int) -> tuple[tuple[int, int], ...]:
    """`seeds` cells that share the seeds evenly among the bases: (0, 0), (0, 1), (1, 2) …"""
    return tuple((seed * bases // seeds, seed) for seed in range(seeds))


def threat(data: str) -> str:
    """The threat that a data set stands for: `contaminated` where it has harmful rows."""
    return "contaminated" if sets.get_set(data).harmful else "accidental"


def run(
    setting: Setting, out: Path, *, arms: Sequence[str] = (), progress: Progress = no_progress
) -> list[dict[str, Any]]:
    """Make and measure what `out` does not hold yet; return all rows of the setting.

    Args:
        setting: bases, cells, data and numbers of prompts.
        out: JSON Lines; cells under way and safety maps lie beside it.
        arms: names of `ARMS`; references and the parents of twins come with them. All if empty.
        progress: told about each arm.

    Raises:
        UsageError: no such arm.
    """
    return _Bench(setting, out, chosen_arms(tuple(arms)), progress).rows()


def read(setting: Setting, out: Path) -> list[dict[str, Any]]:
    """The rows of `out` that belong to the setting's numbers of rows and prompts; none is made."""
    shared = setting.shared()
    rows = read_jsonl(out) if out.is_file() else []
    return [
        row
        for row in rows
        if all(row.get(k) == v for k, v in shared.items()) and row["data"] in setting.data
    ]


class _Bench:
    """The work of `run`."""

    def __init__(self, setting: Setting, out: Path, arms: list[Arm], progress: Progress) -> None:
        self.setting, self.out, self.arms, self.progress = setting, out, arms, progress
        _mend(out)
        self.found = read(setting, out)
        self.digests = [load(path).digest for path in setting.bases]

    def rows(self) -> list[dict[str, Any]]:
        """Do what is missing, cell by cell, the data sets in turn."""
        for index, seed in self.setting.cells:
            for data in self.setting.data:
                self._tune(data)
                self._report(data, index, seed)
        return self.found

    def _tune(self, data: str) -> None:
        """Try every configuration of every arm that competes on validation prompts, once."""
        seed = self.setting.tuning_seed
        own = [arm for arm in self.arms if not arm.twin_of]
        todo = [arm for arm in own if self._row("tuning", data, 0, seed, arm) is None]
        with self._cell(data, 0, seed, bool(todo)) as cell:
            for arm in self._told(todo, f"tune on {data}"):
                self._keep(self._tried(cell, arm))

    def _tried(self, cell: Cell, arm: Arm) -> dict[str, Any]:
        begin, tried, found = time.process_time(), [], []
        row = self._header("tuning", cell, 0, arm)
        for options in arm.options:
            try:
                made = build(cell, arm, options)
            except HoldfastError as error:
                return {**row, "refused": str(error), "chosen": 0, "tried": []}
            model = self._open(cell, made)
            found.append(rates(answers(model, cell.data, "validation", self.setting.validation)))
            tried.append({"options": options, **found[-1]})
        base, plain = self._task(cell, "none", found), self._task(cell, arm.plain, found)
        return {
            **row, "tried": tried, "chosen": choose(found, base, plain),
            "seconds": {"cpu": time.process_time() - begin},
        }  # fmt: skip

    def _task(self, cell: Cell, name: str, found: list[dict[str, float]]) -> float:
        """Task success of a reference on validation; its own row is not written when it runs."""
        row = self._row("tuning", cell.data, 0, cell.seed, ARMS[name])
        return float(row["tried"][0]["task"] if row else found[0]["task"])

    def _report(self, data: str, index: int, seed: int) -> None:
        todo = [a for a in self.arms if self._row("test", data, index, seed, a) is None]
        with self._cell(data, index, seed, bool(todo)) as cell:
            for arm in self._told(todo, f"{data}, base {index}, seed {seed}"):
                self._keep(self._tested(cell, index, arm))

    def _tested(self, cell: Cell, index: int, arm: Arm) -> dict[str, Any]:
        """One arm in its fixed configuration on the test prompts."""
        began, wall = time.process_time(), time.monotonic()
        tuned = self._row("tuning", cell.data, 0, self.setting.tuning_seed, _parent(arm))
        assert tuned is not None, "every arm is tuned before it is reported"
        options = _parent(arm).options[tuned["chosen"]]
        row = {**self._header("test", cell, index, arm), "options": options}
        try:
            made = build(cell, arm, options)
        except HoldfastError as error:
            return {**row, "refused": str(error)}
        model = self._open(cell, made)
        found = answers(model, cell.data, "test", self.setting.prompts)
        return {
            **row, "model": model.digest, **found, "norms": made.norms, **_spent(made),
            "seconds": {
                **_training_seconds(made), "cpu": time.process_time() - began,
                "wall": time.monotonic() - wall,
            },
            "note": made.note,
        }  # fmt: skip

    def _header(self, kind: str, cell: Cell, index: int, arm: Arm) -> dict[str, Any]:
        return {
            **self.setting.shared(), "kind": kind, "arm": arm.name, "data": cell.data,
            "threat": threat(cell.data), "base": self.digests[index], "base_index": index,
            "seed": cell.seed,
            "twin_of": arm.twin_of, "tuned": arm.tuned,
        }  # fmt: skip

    def _row(self, kind: str, data: str, index: int, seed: int, arm: Arm) -> dict[str, Any] | None:
        key = (kind, data, self.digests[index], seed, arm.name)
        return next(
            (r for r in self.found
             if (r["kind"], r["data"], r["base"], r["seed"], r["arm"]) == key), None,
        )  # fmt: skip

    def _open(self, cell: Cell, made: Made) -> LoadedModel:
        return cell.model if made.folder is None else open_result(made.folder, cell.base)

    def _told(self, todo: list[Arm], what: str) -> Iterator[Arm]:
        for number, arm in enumerate(todo):
            self.progress(f"{what}: {arm.name}", number, len(todo))
            yield arm

    def _cell(self, data: str, index: int, seed: int, wanted: bool) -> _Kept:
        folder = self.out.parent / f"{self.out.stem}-cells" / f"{data}-{index}-{seed}"
        cell = Cell(
            self.setting.bases[index], data, seed, self.setting.rows, self.setting.validation,
            folder, self.out.parent / f"{self.out.stem}-maps",
        )  # fmt: skip
        return _Kept(cell, wanted)

    def _keep(self, row: dict[str, Any]) -> None:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with self.out.open("ab") as handle:
            handle.write((json.dumps(row) + "\n").encode())
        self.found.append(row)


class _Kept:
    """A cell whose folder is removed when all of its arms are done, and kept on any failure."""

    def __init__(self, cell: Cell, wanted: bool) -> None:
        self.cell, self.wanted = cell, wanted

    def __enter__(self) -> Cell:
        if self.wanted:
            _claim(self.cell)
        return self.cell

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            shutil.rmtree(self.cell.folder, ignore_errors=True)


def _mend(out: Path) -> None:
    """Drop a last line that a killed process left unfinished."""
    content = out.read_bytes() if out.is_file() else b""
    if content and not content.endswith(b"\n"):
        write_bytes(out, content[: content.rfind(b"\n") + 1])


def _claim(cell: Cell) -> None:
    """Empty a folder that another setting left behind."""
    mark, own = cell.folder / "cell.json", f"{cell.model.digest} {cell.rows} {cell.validation}\n"
    if not mark.is_file() or mark.read_text("utf-8") != own:
        shutil.rmtree(cell.folder, ignore_errors=True)
        cell.folder.mkdir(parents=True)
        mark.write_text(own, "utf-8")


def _parent(arm: Arm) -> Arm:
    """The arm whose configuration counts: a twin's is that of the method it copies."""
    return ARMS[arm.twin_of] if arm.twin_of else arm


def _spent(made: Made) -> dict[str, Any]:
    """Steps that acted, tokens through the model, and memory."""
    record = made.trained.record if made.trained else None
    guarded = {r.name: [r.guarded, r.due] for r in record.protections} if record else {}
    return {"steps": record.steps if record else 0, "guarded": guarded, "cost": asdict(made.cost)}


def _training_seconds(made: Made) -> dict[str, float]:
    if made.trained is None:
        return {}
    record = made.trained.record
    return {
        "train": record.train_seconds, "protection": record.protection_seconds,
        "monitor": record.monitor_seconds,
    }  # fmt: skip
