"""Conformance of fine-tuning methods, for the built-in ones and for plug-ins.

`check_resumes(ArmSpec("mine", base, rows, tmp_path / "mine", MyConfig(epochs=2)))` in a test.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from holdfast.core.records import TrainingRecord
from holdfast.models.loaded import LoadedModel
from holdfast.tuning.artefacts import open_result
from holdfast.tuning.methods.arm import start_folder, train
from holdfast.tuning.methods.spec import ArmSpec


class Crash(BaseException):
    """Stands for a process that dies: no handler of `Exception` catches it."""


def check_resumes(arm: ArmSpec) -> TrainingRecord:
    """Assert that saving, loading and resuming give the trajectory of an uninterrupted run.

    The arm is trained whole, then again elsewhere with a crash at its first checkpoint. Weights of
    every checkpoint must be equal bit for bit; the artefact must load and carry the digest that the
    record names; the base must be as it was.

    Args:
        arm: an arm of at least two epochs.

    Returns:
        The record of the uninterrupted run.
    """
    before = _weights(arm.base)
    whole = train(arm)
    assert len(whole.checkpoints) > 1, "one checkpoint proves no resumption"
    broken = replace(arm, out=arm.out.with_name(f"{arm.out.name}-broken"))
    try:
        train(broken, on_epoch=_crash)
    except Crash:
        pass
    else:
        raise AssertionError("the arm ended before its first checkpoint was handed over")
    resumed = train(broken)
    for first, second in zip(whole.checkpoints, resumed.checkpoints, strict=True):
        assert first.model_digest == second.model_digest, f"step {first.step} differs"
        _same(_weights(arm.out / first.path), _weights(broken.out / second.path))
    _same(before, _weights(arm.base))
    if whole.method.split("+")[0] != "reward":  # a reward model is no causal model
        last = whole.checkpoints[-1]
        start = start_folder(arm.config, arm.base, arm.out)
        assert open_result(arm.out / last.path, start).digest == last.model_digest
    return whole


def _crash(step: int, epoch: float, model: LoadedModel) -> None:
    raise Crash


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, f"{len(different)} tensors differ, first {different[0]}"
