"""Making the arms of the defence bench in a cell."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.pipeline.defenses import controls, edits, repairs
from holdfast.pipeline.defenses.arms import Arm
from holdfast.pipeline.defenses.cell import Cell
from holdfast.pipeline.defenses.edits import Made, Options
from holdfast.pipeline.defenses.twins import norm

__all__ = ["Made", "build"]

_MAKERS: dict[str, Callable[[Cell, Arm, Options], Made]] = {
    "trained": edits.trained,
    "scaled": edits.scaled,
    "random revert": edits.random_revert,
    "revert": edits.revert,
    "safe_lora": edits.safe_lora,
    "resta": repairs.resta,
    "realign": repairs.realigned,
    "random twin": controls.random_twin,
    "shrunk twin": controls.shrunk_twin,
}


def build(cell: Cell, arm: Arm, options: Options) -> Made:
    """Make `arm` in `cell`; work that another arm or configuration did already is used again.

    Raises:
        HoldfastError: the arm is refused there, or its training failed.
    """
    if arm.maker == "none":
        return Made(None)
    found = _MAKERS[arm.maker](cell, arm, options)
    if found.folder is not None and (found.folder / "adapter_config.json").is_file():
        found.norms["update"] = norm(edits.updated(found.folder))
    found.norms["plain"] = norm(edits.updated(cell.plain(arm).at(edits.at(options))[1]))
    return found
