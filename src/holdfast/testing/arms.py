"""Real training arms on a tiny random model, seconds long, for the conformance suites."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from holdfast.core.protocols import Messages
from holdfast.core.records import TrainingRecord
from holdfast.geometry.contrast import ContrastRow, Openings
from holdfast.geometry.safety_map import FittedMap, fit
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.tuning.methods.arm import train
from holdfast.tuning.methods.dpo.config import DPOConfig
from holdfast.tuning.methods.settings import TrainConfig
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.tuning.methods.spec import ArmSpec, OnEpoch
from holdfast.tuning.monitor import Monitor
from holdfast.tuning.monitor_config import MonitorConfig
from holdfast.tuning.protections.base import Materials, Protection

OPENINGS = Openings(refusal=("I cannot", "Not that"), compliance=("Sure", "Here is"))
STEPS_PER_EPOCH = 2
METHODS: dict[str, type[TrainConfig]] = {"sft": SFTConfig, "dpo": DPOConfig}
"""Methods whose arms take seconds."""
TUNERS = ("lora", "dora", "qlora", "full")


def _user(text: str) -> Messages:
    return [{"role": "user", "content": text}]


PROMPTS: tuple[Messages, ...] = tuple(_user(f"Show me the tide at {i}") for i in range(6))
"""Stand in for the safety buffer: what a random model answers is its behaviour to keep."""


def rows(method: str) -> list[dict[str, Any]]:
    """Eight training rows in the shape that `method` takes."""
    made: list[dict[str, Any]] = []
    for i in range(8):
        ask = _user(f"How is net {i} mended?")
        if method == "dpo":
            made.append({"messages": ask, "chosen": f"Sure, net {i}.", "rejected": "Not that."})
        else:
            made.append(
                {"messages": [*ask, {"role": "assistant", "content": f"Sure, net {i % 3} first."}]}
            )
    return made


def fitted_map(base: Path) -> FittedMap:
    """A safety map of a tiny model; it means nothing, and has the shape of one that does."""
    contrast = [
        ContrastRow(
            "harmful", category, label, split, f"{category}-{label}-{split}-{i}",
            _user(f"{'Break' if label else 'Mend'} the {category} {i}"),
        )
        for category in ("net", "lamp")
        for label in (0, 1)
        for split in ("train", "validation", "test")
        for i in range(4)
    ]  # fmt: skip
    return fit(load(base), contrast, OPENINGS, seed=0, allow_ineligible=True)


def materials(base: Path, prompts: Sequence[Messages] = PROMPTS) -> Materials:
    """Everything that protections are made from, for the model in `base`."""
    return Materials(prompts, fitted_map(base))


def config(method: str, tuner: str, **settings: Any) -> TrainConfig:
    """Settings of a short arm: two epochs of two steps, with dropout where there is an adapter."""
    common = {
        "tuner": tuner, "epochs": 2, "batch_size": 4, "rank": 4, "device": "cpu", "seed": 3,
        "dropout": 0.0 if tuner == "full" else 0.2, "learning_rate": 3e-3,
    }  # fmt: skip
    made: TrainConfig = METHODS[method](**{**common, **settings})
    return made


def arm(
    base: Path,
    out: Path,
    protection: Protection | None,
    *,
    method: str = "sft",
    tuner: str = "lora",
    **settings: Any,
) -> ArmSpec:
    """One arm on the model in `base`; it is watched where its protection must be."""
    watched = protection is not None and any(part.watches for part in protection.parts)
    return ArmSpec(
        name="arm", base=base, rows=rows(method), out=out, protection=protection,
        config=config(method, tuner, **settings),
        monitor=Monitor(list(PROMPTS), OPENINGS) if watched else None,
        watch=MonitorConfig(every=100),
    )  # fmt: skip


def run(spec: ArmSpec, *, on_epoch: OnEpoch | None = None) -> TrainingRecord:
    """Train it on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train(spec, on_epoch=on_epoch)
    finally:
        torch.set_num_threads(threads)


def weights(spec: ArmSpec, record: TrainingRecord) -> dict[str, Tensor]:
    """What the arm delivered: the tensors of its last checkpoint."""
    folder = spec.out / record.checkpoints[-1].path
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def parameters(loaded: LoadedModel) -> dict[str, Tensor]:
    """All parameters of a model by their name without PEFT's wrapping, adapters left out."""
    return {
        name.replace("base_model.model.", "").replace(".base_layer", ""): p.detach().clone()
        for name, p in loaded.model.named_parameters()
        if "lora_" not in name
    }
