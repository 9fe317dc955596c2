"""From a folder or a hub name to a `LoadedModel`, without ever running a pickle or foreign code."""

from __future__ import annotations

import contextlib
import json
import logging as stdlib_logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from holdfast.core.errors import EnvironmentFault, IntegrityError, UsageError
from holdfast.core.records import ModelRef
from holdfast.models import rendering
from holdfast.models.architecture import with_gradients
from holdfast.models.loaded import LoadedModel
from holdfast.models.versions import check_positions, precision
from holdfast.vault.manifest import describe

# Whoever imports it next: on every start it says that an optional CPU kernel is not installed.
stdlib_logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(stdlib_logging.ERROR)

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt"]


def load(
    source: str | Path,
    *,
    adapter: Path | None = None,
    dtype: str | torch.dtype = "auto",
    device: str = "cpu",
    trust_remote_code: bool = False,
    name: str = "",
) -> LoadedModel:
    """Load a causal language model with its tokenizer and identity, in evaluation mode.

    Args:
        source: folder, or hub name (from the local cache when `HF_HUB_OFFLINE` is set).
        adapter: folder of a PEFT adapter to put on it.
        dtype: `auto` keeps the checkpoint's own; else a name such as `bfloat16`, or a torch dtype.
        device: `cpu`, `cuda`, `cuda:1` …, or `auto` for the first accelerator there is.
        trust_remote_code: run Python code from the model's repository. Leave it off.
        name: what people call it; the folder's name unless given.

    Raises:
        UsageError: no such model, no causal language model, or one that needs its own code.
        IntegrityError: the checkpoint is truncated, or lacks tensors that its configuration names.
        EnvironmentFault: no memory for it, or the hub cannot be reached.
    """
    folder = resolve(source, code=trust_remote_code)
    _check_config(folder, trust_remote_code)
    check_positions(folder)
    label = name or (str(source) if not Path(source).is_dir() else folder.resolve().name)
    ref = describe(folder, adapter, name=label)
    model: Any = _weights(folder, _dtype(dtype), trust_remote_code)
    tokenizer = _tokenizer(folder, trust_remote_code)
    if adapter is not None:
        from holdfast.models.hf import attach_adapter  # PEFT costs seconds to import

        model = attach_adapter(model, adapter)
    try:
        model = model.to(_device(device)).eval()
    except torch.OutOfMemoryError as error:
        raise EnvironmentFault(
            f"no memory for {label} on {device}", next_step="use another device or a smaller dtype"
        ) from error
    return LoadedModel(model, tokenizer, ref.model_digest, _annotated(ref, model, tokenizer), label)


def resolve(source: str | Path, *, code: bool = False) -> Path:
    """The folder of a model: `source` itself, or its snapshot from the hub or the hub's cache."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if isinstance(source, Path) or not _HUB_NAME.fullmatch(source) or folder.exists():
        raise UsageError(f"{source} is no model folder", next_step="check the path")
    patterns = [*_HUB_FILES, "*.py"] if code else _HUB_FILES
    try:
        return Path(snapshot_download(source, allow_patterns=patterns))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise UsageError(
            f"'{source}' is neither a folder nor a model in the local hub cache",
            next_step="check the name, or download the model while online",
        ) from error
    except HfHubHTTPError as error:
        raise UsageError(
            f"the hub has no model '{source}' for you ({str(error).splitlines()[0][:120]})",
            next_step="check the name and your access",
        ) from error
    except OSError as error:
        raise EnvironmentFault(
            f"'{source}' could not be fetched ({str(error)[:120]})",
            next_step="check the connection, or give a local folder",
        ) from error


def _check_config(folder: Path, trust: bool) -> None:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{folder} holds no config.json", expected="a Hugging Face model folder"
        ) from None
    except ValueError as error:
        raise IntegrityError(
            f"{path} is not readable as JSON", next_step="copy it again"
        ) from error
    if not isinstance(config, dict):
        raise IntegrityError(f"{path} is not a model configuration", next_step="copy it again")
    if config.get("model_type") not in CONFIG_MAPPING and not trust:
        raise UsageError(
            f"{path} names an architecture that transformers does not know",
            got=str(config.get("model_type"))[:60],
            next_step="if the folder brings its own code, read it, then allow trust_remote_code",
        )
    if not any(folder.glob("*.safetensors")):
        raise UsageError(
            f"{folder} holds no safetensors weights",
            next_step="convert the checkpoint to safetensors; pickled weights are never opened",
        )


def _weights(folder: Path, dtype: str | torch.dtype, trust: bool) -> Any:
    try:
        with _no_bars():
            model, report = AutoModelForCausalLM.from_pretrained(
                str(folder), use_safetensors=True, local_files_only=True,
                trust_remote_code=trust, output_loading_info=True, **precision(dtype),
            )  # fmt: skip
    except (SafetensorError, RuntimeError, KeyError) as error:  # unreadable, or of other shapes
        raise _corrupted(folder, str(error)) from error
    except ImportError as error:
        raise EnvironmentFault(
            f"{folder} needs a package that is not installed ({_first_line(error)})",
            next_step="install it, or use an unquantised checkpoint",
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"{folder} cannot be loaded as a causal language model ({_first_line(error)})",
            next_step="check config.json",
        ) from error
    # transformers starts absent tensors at random and only warns: such a model is not that model.
    absent = sorted(map(str, report["missing_keys"])) + sorted(map(str, report["mismatched_keys"]))
    if absent:
        raise _corrupted(folder, f"{len(absent)} tensors absent or misshapen, first '{absent[0]}'")
    with_gradients(model)
    return model


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Loading prints nothing; progress is the caller's to show."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _tokenizer(folder: Path, trust: bool) -> Any:
    try:
        return AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=trust
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder} holds no usable tokenizer ({_first_line(error)})",
            next_step="copy the tokenizer's files beside the weights",
        ) from error


def _dtype(value: str | torch.dtype) -> str | torch.dtype:
    if value == "auto" or isinstance(value, torch.dtype):
        return value
    found = getattr(torch, value, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise UsageError("unknown dtype", got=value, expected="auto, float32, bfloat16 or float16")
    return found


def _device(name: str) -> torch.device:
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found if found is not None else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError("unknown device", got=name, expected="cpu, cuda or auto") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault(
            "this machine has no usable CUDA device", next_step="use --device cpu"
        )
    return device


def _annotated(ref: ModelRef, model: Any, tokenizer: Any) -> ModelRef:
    own = rendering.has_template(tokenizer)
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    facts = {"chat_template": "own" if own else rendering.FALLBACK, "dtype": dtype}
    return ref.model_copy(update={"environment": {**ref.environment, **facts}})


def _corrupted(folder: Path, reason: str) -> IntegrityError:
    line = next((part.strip() for part in reason.splitlines() if part.strip()), "unreadable")
    return IntegrityError(
        f"the checkpoint in {folder} is corrupted ({line[:160]})",
        next_step="copy or download it again",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
