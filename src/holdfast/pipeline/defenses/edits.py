"""Arms of the defence bench that train, or edit the weights of the plain run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from holdfast.models.loading import load
from holdfast.models.scoring import answer_logprobs, opening_scores, refusal_margin
from holdfast.organisms.harbor import contrast
from holdfast.pipeline.defenses.arms import Arm
from holdfast.pipeline.defenses.cell import Cell, Trained, protections
from holdfast.pipeline.defenses.measure import Cost
from holdfast.pipeline.defenses.twins import inside, norm
from holdfast.repair.base import slug
from holdfast.repair.projectors import map_basis, off, onto
from holdfast.repair.updates import AdapterUpdate
from holdfast.repair.weights import layer_of
from holdfast.tuning.protections.registry import config_of
from holdfast.tuning.protections.stack import make as make_protection
from holdfast.tuning.protections.subspace_guard.config import SubspaceGuardConfig
from holdfast.tuning.protections.subspace_guard.protection import SubspaceGuard
from holdfast.tuning.scaling import rescale

Options = Mapping[str, Any]
LOOK = 32
"""Buffer prompts, and training rows, that blocks are ranked on."""


@dataclass
class Made:
    """One arm in one configuration, ready to be asked."""

    folder: Path | None
    """Adapter or full weights; None for the base itself."""
    norms: dict[str, float] = field(default_factory=dict)
    """Norms of the update, and of what was removed from the plain one."""
    trained: Trained | None = None
    """The training that it comes from, where it has one of its own."""
    cost: Cost = field(default_factory=Cost)
    """What it took beside the plain run, where it edits that one, or in all."""
    note: str = ""
    """What the reader of its row must know."""


def at(options: Options) -> float:
    """Share of the training's steps after which the run is taken."""
    return float(options.get("at", 1.0))


def trained(cell: Cell, arm: Arm, options: Options) -> Made:
    """A training of its own, with the arm's protections; scaled afterwards where it says so."""
    if arm.reference:
        run = cell.plain(arm)
        return Made(run.at(at(options))[1], trained=run, cost=run.cost)
    wanted = protections(arm, options)
    specs = [(name, config_of(name)(**settings)) for name, settings in wanted.items()]
    guard = make_protection(specs, cell.materials) if specs else None
    key = f"{arm.name} {sorted(wanted.items())}" if "protect" in options else arm.name
    run = cell.train(arm, key, guard)
    folder = run.at(at(options))[1]
    if options.get("scale", 1.0) != 1.0:
        folder = rescaled(cell, arm, folder, options["scale"])
    norms = {}
    if "subspace_guard" in wanted:
        norms = guard_norms(cell, arm, options, guard_bases(cell))
        norms["removed_in_training"] = reported(run, "subspace_guard", "removed")
    return Made(folder, norms, run, run.cost)


def updated(folder: Path) -> list[Tensor]:
    """The changes of all matrices that the adapter in `folder` makes."""
    update = AdapterUpdate.open(folder)
    return [update.delta(name) for name in update.matrices()]


def reported(run: Trained, name: str, number: str) -> float:
    """A number that a protection of `run` reported of itself."""
    return next(r.numbers.get(number, 0.0) for r in run.record.protections if r.name == name)


def rescaled(cell: Cell, arm: Arm, folder: Path, scale: float) -> Path:
    """The adapter in `folder`, acting `scale` times as strongly."""
    to = cell.folder / slug(f"{arm.name} {folder.name} x{scale:.6f}")
    shutil.rmtree(to, ignore_errors=True)
    return rescale(folder, scale, to)


def scaled(cell: Cell, arm: Arm, options: Options) -> Made:
    """The plain run at a checkpoint, scaled."""
    folder = cell.plain(arm).at(at(options))[1]
    scale = float(options["scale"])
    return Made(folder if scale == 1.0 else rescaled(cell, arm, folder, scale))


def kept_blocks(cell: Cell, arm: Arm, options: Options, kept: Mapping[int, float]) -> Made:
    """The plain run with a share of every block's update, 1 where `kept` names none."""
    update = cell.update(arm, at(options))
    folder = cell.folder / slug(f"{arm.name} {sorted(kept.items())}")
    made_at = update.write(folder, lambda name: kept.get(layer_of(name) or 0, 1.0))
    sizes = block_sizes(update)
    removed = sum(((1 - share) * sizes[block]) ** 2 for block, share in kept.items()) ** 0.5
    return Made(made_at, {"removed": removed}, note=f"kept of blocks: {dict(kept)}")


def block_sizes(update: AdapterUpdate) -> dict[int, float]:
    """Norm of the update in every decoder block."""
    blocks: dict[int, list[Tensor]] = {}
    for name in update.matrices():
        blocks.setdefault(layer_of(name) or 0, []).append(update.delta(name))
    return {block: norm(changes) for block, changes in sorted(blocks.items())}


def order(cell: Cell, arm: Arm) -> list[int]:
    """Blocks in a random order that is the same for all configurations."""
    blocks = list(block_sizes(cell.update(arm)))
    Random(f"{arm.name}|{cell.seed}").shuffle(blocks)
    return blocks


def random_revert(cell: Cell, arm: Arm, options: Options) -> Made:
    """As many whole blocks as asked for are given back, drawn without looking."""
    return kept_blocks(
        cell, arm, options, dict.fromkeys(order(cell, arm)[: options["blocks"]], 0.0)
    )


def _ranked(cell: Cell, arm: Arm) -> list[int]:
    """Blocks by what giving each back alone does, in nats: no evaluation prompt is asked.

    The mean refusal margin on the safety buffer, plus the mean log-probability of the answers of
    the training rows, so that a block that carries the task is not the first to go.
    """
    if "ranked" not in cell.memo:
        openings = contrast.openings()
        every = [*openings["refusal"], *openings["compliance"]]
        rows, split, scores = cell.training_rows[:LOOK], len(openings["refusal"]), {}
        for block in block_sizes(cell.update(arm)):
            model = load(cell.base, adapter=kept_blocks(cell, arm, {}, {block: 0.0}).folder)
            logs = opening_scores(model, cell.buffer[:LOOK], every)
            known = answer_logprobs(
                model, [row["messages"][:-1] for row in rows],
                [row["messages"][-1]["content"] for row in rows],
            )  # fmt: skip
            margin = float(refusal_margin(logs[:, :split], logs[:, split:]).mean())
            scores[block] = margin + sum(float(one.sum()) for one in known) / len(known)
        cell.memo["ranked"] = sorted(scores, key=lambda block: -scores[block])
    return list(cell.memo["ranked"])


def revert(cell: Cell, arm: Arm, options: Options) -> Made:
    """The best-ranked blocks are given back."""
    return kept_blocks(
        cell, arm, options, dict.fromkeys(_ranked(cell, arm)[: options["blocks"]], 0.0)
    )


def projection(
    cell: Cell, arm: Arm, options: Options
) -> tuple[AdapterUpdate, dict[str, Tensor], dict[str, Tensor]]:
    """The plain update, the map's basis for every writer, and the change as [out, in]."""
    update = cell.update(arm, at(options))
    basis = map_basis(cell.fitted, cell.writers)
    found = {name: basis(name) for name in update.matrices()}
    bases = {name: one for name, one in found.items() if one is not None}
    return update, bases, {name: update.delta(name) for name in bases}


def project(
    cell: Cell, arm: Arm, options: Options, update: AdapterUpdate, bases: Mapping[str, Tensor]
) -> Made:
    """Safe LoRA's edit with the given bases: off them, or onto them."""
    side = off if options["side"] == "off" else onto
    folder = cell.folder / slug(f"{arm.name} {options['side']}")
    made_at = update.write(folder, lambda name: side(bases[name]) if name in bases else 1.0)
    return Made(made_at, {"removed": norm(removed_by(update, bases, options).values())})


def removed_by(
    update: AdapterUpdate, bases: Mapping[str, Tensor], options: Options
) -> dict[str, Tensor]:
    """What the projection takes from each matrix."""
    other = onto if options["side"] == "off" else off
    return {name: other(basis) @ update.delta(name).double() for name, basis in bases.items()}


def safe_lora(cell: Cell, arm: Arm, options: Options) -> Made:
    """The plain update projected off the map's subspace, or onto it, at every writer."""
    update, bases, _ = projection(cell, arm, options)
    return project(cell, arm, options, update, bases)


def guard_bases(cell: Cell) -> dict[int, Tensor]:
    """The subspaces that the guard protects, by block."""
    return SubspaceGuard.build(SubspaceGuardConfig(), cell.materials).by_layer(cell.model.model)


def changes_by_block(cell: Cell, update: AdapterUpdate) -> dict[int, Tensor]:
    """The changes of a block's writers side by side, [d, all inputs]."""
    blocks: dict[int, list[Tensor]] = {}
    for name in update.matrices():
        if name in cell.writers:
            blocks.setdefault(layer_of(name) or 0, []).append(update.delta(name))
    return {block: torch.cat(changes, 1) for block, changes in blocks.items()}


def guard_norms(
    cell: Cell, arm: Arm, options: Options, bases: Mapping[int, Tensor]
) -> dict[str, float]:
    """What the guard's projector takes from the plain update at the same checkpoint."""
    changes = changes_by_block(cell, cell.update(arm, at(options)))
    squares = (inside(bases[block], change) ** 2 for block, change in changes.items())
    return {"removed": sum(squares) ** 0.5}
