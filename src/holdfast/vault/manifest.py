"""What a model is: the files that decide its behaviour, their digests, and one digest over all.

Part of the identity are weights, adapter, tokenizer, chat template, generation config, config and
any code that the configuration can load. README, licence, pictures and training state are not. Two
folders with equal files are the same model, wherever they lie and whatever they are called; an
adapter's digest includes the digest of the model it sits on.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from holdfast.core.digest import combine, sha256_file
from holdfast.core.errors import DataError, IntegrityError, RefusedError
from holdfast.core.records import ModelRef
from holdfast.vault import safetensors_check

_PARTS = (
    "*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json",
    "tokenizer*.json", "tokenizer*.model", "special_tokens_map.json", "added_tokens.json",
    "vocab*", "merges.txt", "*.tiktoken", "*.bpe", "*.bpe.model", "spiece.model", "*.spm",
    "tekken.json", "normalizer.json", "chat_template*", "quantiz*_config.json", "*.py",
)  # fmt: skip
_ADAPTER_PARTS = ("adapter_config.json", "adapter_model.safetensors")
_PICKLES = (
    "*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.joblib", "*.dill", "*.npy", "*.npz",
)  # fmt: skip
# Left by trainers beside the weights; never opened, never copied, no part of the model.
_TRAINING_STATE = (
    "optimizer.pt", "optimizer.bin", "scheduler.pt", "scheduler.bin", "scaler.pt",
    "rng_state*.pth", "training_args.bin",
)  # fmt: skip


def describe(folder: Path, adapter: Path | None = None, *, name: str = "") -> ModelRef:
    """The identity of the model in `folder`, with the PEFT adapter in `adapter` on it if given.

    Hashes every part (streamed) and checks every safetensors header. Raises `DataError` when the
    folder holds no such model, `RefusedError` for pickles and links that lead out, and
    `IntegrityError` for damaged weights.
    """
    base = describe_model(folder, name=name)
    if adapter is None:
        return base
    return describe_adapter(adapter, base, name=name)


def describe_model(folder: Path, *, name: str = "") -> ModelRef:
    """The identity of a folder with full weights."""
    files = parts(folder)
    if "adapter_config.json" in files or "adapter_model.safetensors" in files:
        raise DataError(
            f"{folder} holds an adapter, not a model",
            next_step="name the base model's folder, and this one as its adapter",
        )
    for needed in ("config.json", "*.safetensors"):
        if not any(fnmatchcase(file, needed) for file in files):
            raise DataError(f"{folder} holds no {needed}", expected="a Hugging Face model folder")
    components = _check_and_hash(files)
    return ModelRef(
        name=name or folder.resolve().name,
        model_digest=identity(components),
        kind="base",
        components=components,
    )


def describe_adapter(folder: Path, base: ModelRef, *, name: str = "") -> ModelRef:
    """The identity of the PEFT adapter in `folder` on `base`."""
    files = {file: path for file, path in parts(folder).items() if file in _ADAPTER_PARTS}
    for needed in _ADAPTER_PARTS:
        if needed not in files:
            raise DataError(f"{folder} holds no {needed}", expected="a PEFT adapter folder")
    components = _check_and_hash(files)
    return ModelRef(
        name=name or folder.resolve().name,
        model_digest=identity(components, base.model_digest),
        kind="adapter",
        components=components,
        lineage=(base.model_digest, *base.lineage),
    )


def identity(components: Mapping[str, str], base: str = "") -> str:
    """Digest of a model from the digests of its files and, for an adapter, of its base."""
    return combine({**components, "base": base} if base else components)


def parts(folder: Path) -> dict[str, Path]:
    """The files of `folder` that belong to the model, by name; refuses what must not be loaded."""
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder", next_step="check the path of the model")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if _matches(path.name, _TRAINING_STATE):
            continue
        if _matches(path.name.lower(), _PICKLES):
            raise RefusedError(
                f"{path} may be a pickle, which can run code when it is loaded",
                expected="weights in safetensors files",
                next_step="convert the weights to safetensors, or remove the file",
            )
        if _matches(path.name, _PARTS + _ADAPTER_PARTS):
            _require_plain(path, folder)
            found[path.name] = path
    return found


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _require_plain(path: Path, folder: Path) -> None:
    """A regular file, or a link of the Hugging Face cache from a snapshot to one of its blobs."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        snapshots = folder.resolve().parent
        target = path.resolve()
        if snapshots.name != "snapshots" or target.parent != snapshots.parent / "blobs":
            raise RefusedError(
                f"{path} is a link",
                expected="plain files",
                next_step="copy the file into the folder",
            )
        mode = target.stat().st_mode if target.exists() else 0
    if not stat.S_ISREG(mode):
        raise RefusedError(f"{path} is no plain file", expected="plain files")


def _check_and_hash(files: Mapping[str, Path]) -> dict[str, str]:
    for file, path in files.items():
        try:
            if file.endswith(".safetensors"):
                safetensors_check.check(path)
            elif file.endswith(".safetensors.index.json"):
                safetensors_check.check_index(path)
        except FileNotFoundError:
            raise IntegrityError(f"{path} vanished while it was read") from None
    return {file: sha256_file(path) for file, path in files.items()}
