"""Repairs in the defence bench: safety vectors and short re-alignment of the plain run."""

from __future__ import annotations

import shutil
from typing import Any

from torch import Tensor

from holdfast.core.errors import InvalidRun
from holdfast.pipeline.defenses.arms import Arm
from holdfast.pipeline.defenses.cell import Cell, Trained
from holdfast.pipeline.defenses.edits import Made, Options
from holdfast.pipeline.defenses.measure import counted
from holdfast.repair import realign
from holdfast.repair.base import slug
from holdfast.repair.methods.resta.method import made
from holdfast.repair.training import short
from holdfast.repair.weights import Tensors, write_full
from holdfast.tuning.methods.dpo.config import DPOConfig


def resta(cell: Cell, arm: Arm, options: Options) -> Made:
    """θ_run + γ·(θ_aligned − θ_unaligned), the sibling made from the run's own failures."""
    case = cell.case(arm)
    try:
        if "resta" not in cell.memo:
            with counted() as cost:
                cell.memo["resta"] = made(case, cell.folder / "resta", cell.progress)
            cell.memo["resta cost"] = cost
    except InvalidRun as error:
        return _unrepaired(cell, arm, error)
    vector, run = cell.memo["resta"], Tensors.open(case.merged())
    gamma = float(options["gamma"])

    def value(name: str) -> Tensor:
        weight, change = run.get(name), vector(name)
        return weight if change is None else (weight.float() + gamma * change).to(weight.dtype)

    to = cell.folder / f"resta-{gamma:g}"
    return Made(write_full(run, case.merged(), to, value), cost=cell.memo["resta cost"])


def realigned(cell: Cell, arm: Arm, options: Options) -> Made:
    """Short re-alignment of the plain run; the configurations are its epochs."""
    case = cell.case(arm)
    out = cell.folder / slug(f"{arm.name} training")
    try:
        pairs = case.pairs().items
    except InvalidRun as error:
        return _unrepaired(cell, arm, error)
    config: Any = realign.settings_of(case, arm.name)
    rows = [pair.row() for pair in pairs]
    if arm.name == "realign_dpo":
        config = DPOConfig(**config.model_dump(exclude={"method"}), beta=0.1, sft_weight=1.0)
        rows = [
            {"messages": p.messages, "chosen": p.chosen, "rejected": p.rejected}
            for p in pairs
            if p.rejected.strip() and p.rejected != p.chosen
        ]
    if arm.name not in cell.memo:
        shutil.rmtree(out, ignore_errors=True)
        with counted() as cost:
            record = short(arm.name, case.merged(), rows, out, config, cell.progress)
        cell.memo[arm.name] = (record, cost)
    record, cost = cell.memo[arm.name]
    run = Trained(out, record, cost)
    epoch = min(options["epoch"], len(record.checkpoints))
    folder = realign.place(
        case, out / record.checkpoints[epoch - 1].path, cell.folder / f"{slug(arm.name)}-{epoch}"
    )
    return Made(folder, trained=run, cost=cost, note=f"{len(rows)} pairs")


def _unrepaired(cell: Cell, arm: Arm, error: InvalidRun) -> Made:
    """A repair that finds nothing to repair leaves the plain run as it is."""
    return Made(cell.plain(arm).at(1.0)[1], note=f"nothing to repair: {error.what}")
