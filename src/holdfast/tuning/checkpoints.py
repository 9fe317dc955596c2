"""Checkpoints of a training run: sealed when whole, verified before use, exported for evaluation.

Two folders per checkpoint. `resume/checkpoint-N` is the Trainer's own, with optimizer and random
states in torch's pickle format; it is only ever read back by the run that wrote it, after every
file has matched the digest recorded when it was written, and with `weights_only` loading.
`epochs/N` holds the model alone, as safetensors.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from holdfast.core.digest import canonical_json, sha256_file
from holdfast.core.errors import IntegrityError
from holdfast.core.files import disk_faults, write_text

SEAL = "holdfast.json"
"""File that marks a checkpoint as whole."""
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
_RESUME_ONLY = (
    "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "training_args.bin",
    "README.md", SEAL,
)  # fmt: skip


def seal(folder: Path, state: dict[str, Any]) -> None:
    """Record the digest of every file in `folder`, and `state`; from here on it is whole."""
    files = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != SEAL
    }
    write_text(folder / SEAL, canonical_json({"files": files, "state": state}))


def latest(root: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole checkpoint under `root` and its state; None when there is none.

    What a killed process left half-written is removed.

    Raises:
        IntegrityError: a file of a sealed checkpoint is missing or changed.
    """
    folders = sorted(root.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    whole = [folder for folder in folders if (folder / SEAL).is_file()]
    for folder in folders:
        if folder not in whole:
            shutil.rmtree(folder)
    if not whole:
        return None
    newest = whole[-1]
    content = json.loads((newest / SEAL).read_text("utf-8"))
    for name, digest in content["files"].items():
        path = newest / name
        if not path.is_file() or sha256_file(path) != digest:
            raise IntegrityError(
                f"the checkpoint file {path} is {'changed' if path.is_file() else 'missing'}",
                next_step=f"delete {newest} to go on from the checkpoint before it",
            )
    return newest, content["state"]


def export(checkpoint: Path, to: Path, *, initial: Path | None = None) -> None:
    """Place the model of a Trainer checkpoint in `to`: the adapter's two files, or full weights.

    An adapter's configuration is made canonical, so that equal training gives equal files on every
    machine: no path of the base (which PEFT would also look up on the hub), sets in order.
    Weights are hard links where the file system allows it: the Trainer never rewrites them.

    Args:
        checkpoint: folder that the Trainer wrote.
        to: folder to make.
        initial: factors that an adapter began with, where it took them out of the base (PiSSA,
            OLoRA); the export is then an ordinary adapter on the true base.
    """
    adapter = (checkpoint / _ADAPTER[0]).is_file()
    names = _ADAPTER if adapter else tuple(
        path.name
        for path in sorted(checkpoint.iterdir())
        if path.is_file() and path.name not in _RESUME_ONLY
    )  # fmt: skip
    draft = to.with_name(f".{to.name}.tmp")
    with disk_faults(to):
        for old in (draft, to):
            if old.exists():
                shutil.rmtree(old)
        draft.mkdir(parents=True)
        for name in names:
            _link(checkpoint / name, draft / name)
        if adapter:
            _canonical_config(draft / _ADAPTER[0])
        if adapter and initial is not None:
            _onto_true_base(draft, initial)
        draft.replace(to)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _canonical_config(path: Path) -> None:
    """PEFT writes sets in an order that changes from process to process."""
    config = json.loads(path.read_text("utf-8"))
    config["base_model_name_or_path"] = None
    for name, value in config.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            config[name] = sorted(value)
    write_text(path, json.dumps(config, indent=2, sort_keys=True) + "\n")


def _onto_true_base(folder: Path, initial: Path) -> None:
    """Rewrite an adapter whose base lost s·B₀A₀ to it as one on the true base.

    ΔW = s(BA - B₀A₀) = s·[B, -B₀]·[A; A₀]: twice the rank, the same factor s.
    """
    path = folder / _ADAPTER[1]
    now, start = load_file(path), load_file(initial)
    if now.keys() != start.keys():
        raise IntegrityError(f"{initial} holds other tensors than the adapter", next_step="retrain")
    joined = {
        name: torch.cat((tensor, start[name]), 0)
        if ".lora_A." in name
        else torch.cat((tensor, -start[name]), 1)
        for name, tensor in now.items()
    }
    path.unlink()  # it may be a hard link to the Trainer's own file
    save_file(joined, path)
    config = json.loads((folder / _ADAPTER[0]).read_text("utf-8"))
    config["lora_alpha"] *= math.sqrt(2) if config.get("use_rslora") else 2
    config.update(r=2 * config["r"], init_lora_weights=True)
    write_text(folder / _ADAPTER[0], json.dumps(config, indent=2, sort_keys=True) + "\n")
