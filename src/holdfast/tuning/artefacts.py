"""What is deployed: an adapter, merged weights, or weights in 4 bit; each a folder like any other.

Quantising is a change of its own (`research/defenses.md` 3.9), and so is merging in a low
precision. So each artefact is written to disk, has its own digest, and is what the gate asks.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import torch

from holdfast.core.errors import EnvironmentFault, UsageError
from holdfast.core.files import disk_faults
from holdfast.core.records import ModelKind
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.models.versions import precision
from holdfast.tuning.methods.settings import TrainConfig
from holdfast.vault.manifest import parts

ADAPTER = "adapter_config.json"


def require_quantiser() -> None:
    """Raise `EnvironmentFault` unless bitsandbytes is installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise EnvironmentFault(
            "4-bit weights need the package bitsandbytes, which is not installed",
            next_step="pip install 'holdfast[qlora]', or use tuner: lora",
        )


def check_environment(config: TrainConfig) -> None:
    """Raise `EnvironmentFault` where the settings ask for a package that is not installed."""
    if config.tuner == "qlora" or config.deploy == "nf4":
        require_quantiser()


def quantise(source: Path, to: Path, *, dtype: str = "float32") -> Path:
    """Write the weights in `source` to `to` as NF4 with double quantisation (arXiv 2305.14314).

    Args:
        source: model folder with whole weights.
        to: folder to make; one that is there already is kept.
        dtype: precision of the computation and of what is not quantised.

    Raises:
        EnvironmentFault: bitsandbytes is not installed.
    """
    require_quantiser()
    if to.is_dir():
        return to
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(
        str(source), quantization_config=settings, device_map="cpu", local_files_only=True,
        use_safetensors=True, **precision(getattr(torch, dtype)),
    )  # fmt: skip
    return _save(model, source, to)


def merge(base: Path, adapter: Path, to: Path, *, dtype: str = "auto") -> Path:
    """Write the weights of `base` with `adapter` merged into them to `to`.

    Args:
        base: folder of the whole-precision base.
        adapter: adapter folder.
        to: folder to make; one that is there already is kept.
        dtype: precision of the result; `auto` keeps the base's own.
    """
    if to.is_dir():
        return to
    loaded: Any = load(base, adapter=adapter, dtype=dtype)
    return _save(loaded.model.merge_and_unload(safe_merge=True), base, to)


def deploy(config: TrainConfig, base: Path, trained: Path, to: Path) -> Path:
    """Make the artefact that `config.deploy` names from the result of training, at `to`.

    Args:
        config: settings of the arm.
        base: folder of the true base.
        trained: adapter folder, or full weights.
        to: folder to make; whatever is there is replaced.
    """
    shutil.rmtree(to, ignore_errors=True)
    if config.deploy == "as-trained":
        shutil.copytree(trained, to)
        return to
    if not config.adapter:
        return quantise(trained, to, dtype=config.dtype)
    if config.deploy == "merged":
        return merge(base, trained, to)
    whole = to.with_name(f".{to.name}.merged")
    shutil.rmtree(whole, ignore_errors=True)
    quantise(merge(base, trained, whole), to, dtype=config.dtype)
    shutil.rmtree(whole)
    return to


def open_result(result: Path, start: Path, **settings: Any) -> LoadedModel:
    """Load an artefact: an adapter on `start` (the folder it was trained on), or whole weights."""
    if (result / ADAPTER).is_file():
        return load(start, adapter=result, **settings)
    return load(result, **settings)


def kind_of(result: Path) -> ModelKind:
    """`adapter`, `quantised` or `merged`, from what lies in the folder."""
    if (result / ADAPTER).is_file():
        return "adapter"
    config = result / "config.json"
    if not config.is_file():
        raise UsageError(f"{result} holds no model", expected="an adapter or a model folder")
    return "quantised" if '"quantization_config"' in config.read_text("utf-8") else "merged"


def _save(model: Any, source: Path, to: Path) -> Path:
    """Write `model` with the tokenizer of `source`, whole or not at all."""
    draft = to.with_name(f".{to.name}.tmp")
    with disk_faults(to):
        shutil.rmtree(draft, ignore_errors=True)
        model.save_pretrained(str(draft))
        for name, path in parts(source).items():
            if not name.endswith((".safetensors", ".safetensors.index.json")):
                target = draft / name
                if not target.exists():
                    shutil.copy2(path, target)
        draft.replace(to)
    return to
