"""Twins in the defence bench: as large a change, along random directions or along the update."""

from __future__ import annotations

from typing import Any

import torch

from holdfast.core.seeds import derive
from holdfast.pipeline.defenses.arms import ARMS, STREAM, Arm
from holdfast.pipeline.defenses.cell import Cell, protections
from holdfast.pipeline.defenses.edits import (
    Made,
    Options,
    at,
    block_sizes,
    changes_by_block,
    guard_bases,
    guard_norms,
    kept_blocks,
    order,
    project,
    projection,
    removed_by,
    reported,
    rescaled,
    revert,
    trained,
    updated,
)
from holdfast.pipeline.defenses.twins import (
    inside,
    matched_basis,
    norm,
    revert_matched,
    shrink,
)
from holdfast.repair.base import slug
from holdfast.repair.weights import layer_of
from holdfast.tuning.protections.caft.config import CAFTConfig
from holdfast.tuning.protections.caft.protection import CAFT
from holdfast.tuning.protections.steering.config import SteeringConfig
from holdfast.tuning.protections.steering.protection import Steering
from holdfast.tuning.protections.subspace_guard.config import SubspaceGuardConfig
from holdfast.tuning.protections.subspace_guard.protection import SubspaceGuard


def _generator(cell: Cell, arm: Arm, name: object = "") -> torch.Generator:
    return torch.Generator().manual_seed(derive(cell.seed, arm.name, str(name)) % 2**63)


def random_twin(cell: Cell, arm: Arm, options: Options) -> Made:
    """The same method along random directions that remove the same norm."""
    parent = ARMS[arm.twin_of]
    if parent.maker == "revert":
        removed = revert(cell, parent, options).norms["removed"]
        sizes = block_sizes(cell.update(arm, at(options)))
        return kept_blocks(cell, arm, options, revert_matched(sizes, order(cell, arm), removed))
    if parent.maker == "safe_lora":
        update, bases, changes = projection(cell, arm, options)
        random = {
            name: matched_basis(changes[name], basis, _generator(cell, arm, name))
            for name, basis in bases.items()
        }
        return project(cell, arm, options, update, random)
    guard, norms = _random_guard(cell, arm, parent, options)
    run = cell.train(arm, f"{arm.name} {options}", guard)
    if isinstance(guard, SubspaceGuard):
        norms["removed_in_training"] = reported(run, "subspace_guard", "removed")
    return Made(run.at(at(options))[1], norms, run, run.cost)


def _random_guard(
    cell: Cell, arm: Arm, parent: Arm, options: Options
) -> tuple[Any, dict[str, float]]:
    """The parent's protection with random directions, and the norms that were matched."""
    settings = next(iter(protections(parent, options).values()))
    fitted = cell.fitted
    if "steering" in parent.name:
        vectors = Steering.build(SteeringConfig(**settings), cell.materials).arrays
        drawn = {}
        for layer, vector in vectors.items():
            noise = torch.randn(vector.shape, generator=_generator(cell, arm, layer))
            drawn[layer] = noise * (vector.norm() / noise.norm())
        return Steering(SteeringConfig(**settings), drawn), {}
    if "caft" in parent.name:
        random, removed = {}, 0.0
        for site in fitted.sites:
            subspace = fitted.array("subspace", site.name)
            seen = fitted.array("activations", site.name).double().T
            random[site.layer] = matched_basis(seen, subspace, _generator(cell, arm, site.name))
            removed += inside(random[site.layer], seen) ** 2
        return CAFT(CAFTConfig(**settings), random), {"removed_activations": removed**0.5}
    changes = changes_by_block(cell, cell.update(arm, at(options)))
    bases = {
        block: matched_basis(changes[block], basis, _generator(cell, arm, block))
        for block, basis in guard_bases(cell).items()
    }
    return (
        SubspaceGuard(SubspaceGuardConfig(**settings), bases),
        guard_norms(cell, arm, options, bases),
    )


def shrunk_twin(cell: Cell, arm: Arm, options: Options) -> Made:
    """The plain update, smaller by the norm that the method removes."""
    parent = ARMS[arm.twin_of]
    update = cell.update(arm, at(options))
    factors: dict[str, float] = {}
    if parent.maker == "safe_lora":
        _, bases, changes = projection(cell, arm, options)
        taken = removed_by(update, bases, options)
        factors = {n: shrink(norm([changes[n]]), norm([taken[n]])) for n in bases}
    elif parent.name.startswith("subspace_guard"):
        bases_of = guard_bases(cell)
        for name in update.matrices():
            if name in cell.writers:
                change = update.delta(name)
                taken_norm = inside(bases_of[layer_of(name) or 0], change)
                factors[name] = shrink(norm([change]), taken_norm)
    else:
        return _shrunk_whole(cell, arm, parent, options)
    folder = cell.folder / slug(f"{arm.name} {sorted(options.items())}")
    made_at = update.write(folder, lambda name: factors.get(name, 1.0))
    removed = norm((1 - f) * update.delta(name) for name, f in factors.items())
    return Made(made_at, {"removed": removed})


def _shrunk_whole(cell: Cell, arm: Arm, parent: Arm, options: Options) -> Made:
    """The whole plain update scaled: by what was removed, or to the norm that training left."""
    plain = norm(updated(cell.plain(arm).at(at(options))[1]))
    if parent.name in STREAM:
        own = trained(cell, parent, options).folder
        scale = min(1.0, norm(updated(own)) / plain) if own else 1.0
    else:
        scale = shrink(plain, revert(cell, parent, options).norms["removed"])
    folder = rescaled(cell, arm, cell.plain(arm).at(at(options))[1], scale)
    return Made(folder, {"removed": (1 - scale) * plain, "scale": scale})
