"""Reading and writing SAEs on disk: SAELens, Gemma Scope and dictionary_learning, all offline.

Layouts (checked against sae-lens 6.54 and dictionary_learning 0.1):

- SAELens: `cfg.json` with `sae_weights.safetensors` (W_enc, b_enc, W_dec, b_dec, threshold).
- Gemma Scope: `params.npz` (Gemma 2) or `params.safetensors` (Gemma 3): w_enc, w_dec in either
  case, b_enc, b_dec, threshold; JumpReLU, the input is not centred.
- dictionary_learning: `config.json` with `ae.safetensors`, the state dict of `ae.pt` converted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from holdfast.core.errors import DataError, UsageError
from holdfast.core.files import write_bytes, write_text
from holdfast.geometry.sae.arrays import (
    CONVERT,
    read_config,
    read_npz,
    read_safetensors,
    refuse_pickle,
)
from holdfast.geometry.sae.autoencoder import Activation, SparseAutoencoder

SAELENS_CONFIG, SAELENS_WEIGHTS = "cfg.json", "sae_weights.safetensors"
LAYOUT = "6.0.0"
"""Version of SAELens whose layout is written; later ones read it."""
_HOOKS = (
    (re.compile(r"blocks\.(\d+)\.hook_resid_post"), 0),
    (re.compile(r"blocks\.(\d+)\.hook_resid_pre"), -1),
    (re.compile(r"model\.layers\.(\d+)"), 0),
)
_FLAGS = ("normalize_activations", "reshape_activations", "finetuning_scaling_factor")


def read(path: Path, *, site: str = "") -> SparseAutoencoder:
    """Read an SAE in any of the layouts above.

    Args:
        path: its folder, or its file.
        site: where it was trained, `resid_post.L`; default: what the files say.

    Raises:
        UsageError: none of the known layouts, or an architecture that is not read.
        DataError: tensors absent, of wrong shapes, too large, or holding NaN.
        RefusedError: the weights are a pickle.
        IntegrityError: a damaged file.
    """
    refuse_pickle(path)
    if path.is_file():
        found = _file(path)
    elif (path / SAELENS_CONFIG).is_file():
        found = _saelens(path)
    elif (path / "params.npz").is_file() or (path / "params.safetensors").is_file():
        npz = path / "params.npz"
        found = _file(npz if npz.is_file() else path / "params.safetensors")
    elif (path / "ae.safetensors").is_file():
        found = _dictionary(path)
    else:
        for pickled in sorted(path.glob("*.pt")) if path.is_dir() else ():
            refuse_pickle(pickled)
        raise UsageError(
            f"{path} holds no SAE that is known here",
            expected=f"{SAELENS_CONFIG} with {SAELENS_WEIGHTS}, params.npz, params.safetensors, "
            "or config.json with ae.safetensors",
        )
    return found.at(site) if site else found


def write(sae: SparseAutoencoder, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write the SAELens layout, readable by `sae_lens.SAE.load_from_disk` too.

    What is written is also what an SAE rounded to `dtype` computes; measure that one.
    """
    tensors = {"W_enc": sae.w_enc, "b_enc": sae.b_enc, "W_dec": sae.w_dec, "b_dec": sae.b_dec}
    if sae.threshold is not None:
        tensors["threshold"] = sae.threshold
    kinds = {"relu": "standard", "topk": "topk", "jumprelu": "jumprelu"}
    config: dict[str, Any] = {
        "architecture": kinds[sae.activation], "d_in": sae.width, "d_sae": sae.latents,
        "dtype": str(dtype).removeprefix("torch."), "device": "cpu",
        "apply_b_dec_to_input": sae.centred, "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": LAYOUT, "holdfast": dict(sae.notes)},
    }  # fmt: skip
    if sae.activation == "topk":
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    if sae.site:
        config["metadata"]["hook_name"] = f"blocks.{sae.layer}.hook_resid_post"
    plain = {name: value.detach().cpu().to(dtype).contiguous() for name, value in tensors.items()}
    write_bytes(folder / SAELENS_WEIGHTS, safetensors.torch.save(plain))
    write_text(folder / SAELENS_CONFIG, json.dumps(config, indent=1, sort_keys=True) + "\n")


def _saelens(folder: Path) -> SparseAutoencoder:
    config = read_config(folder / SAELENS_CONFIG)
    metadata = config.get("metadata") if isinstance(config.get("metadata"), dict) else {}
    old = {"activation_fn": config.get("activation_fn_str"), **config}
    kind = str(config.get("architecture", "standard"))
    options = config.get("activation_fn_kwargs") or {}
    if kind == "standard" and old.get("activation_fn") == "topk":
        kind, config = "topk", {**config, "k": options.get("k") if options else None}
    kinds: dict[str, Activation] = {"standard": "relu", "topk": "topk", "jumprelu": "jumprelu"}
    if kind not in kinds:
        raise UsageError(
            f"{folder}: architecture '{kind[:40]}' is not read", expected=", ".join(kinds)
        )
    for flag in _FLAGS:
        if config.get(flag) not in (None, False, "none"):
            raise UsageError(
                f"{folder}: {flag} is {config[flag]!r:.60}", expected="weights with it folded in",
                next_step="fold it with SAELens and save the SAE again",
            )  # fmt: skip
    tensors = _named(read_safetensors(folder / SAELENS_WEIGHTS), folder)
    if config.get("rescale_acts_by_decoder_norm"):
        tensors = _folded(tensors)
    hook = config.get("hook_name", config.get("hook_point", (metadata or {}).get("hook_name", "")))
    notes = (metadata or {}).get("holdfast", {})
    return _build(
        tensors, kinds[kind], centred=bool(config.get("apply_b_dec_to_input", True)),
        k=_count(config.get("k", 0), folder), site=_site(str(hook or ""), folder),
        origin="saelens", notes=notes if isinstance(notes, dict) else {},
    )  # fmt: skip


def _file(path: Path) -> SparseAutoencoder:
    """Gemma Scope's parameters, whose path tells the layer where it is as published."""
    if path.name == SAELENS_WEIGHTS:
        return _saelens(path.parent)
    if path.name == "ae.safetensors":
        return _dictionary(path.parent)
    tensors = read_npz(path) if path.suffix == ".npz" else read_safetensors(path)
    layer = next((m[1] for p in path.parts if (m := re.fullmatch(r"layer_(\d+)\b.*", p))), None)
    site = f"resid_post.{layer}" if layer is not None else ""
    return _build(
        _named(tensors, path), "jumprelu", centred=False, k=0, site=site, origin="gemma-scope"
    )


def _dictionary(folder: Path) -> SparseAutoencoder:
    config = read_config(folder / "config.json")
    trainer = config.get("trainer")
    if not isinstance(trainer, dict):
        raise DataError(f"{folder / 'config.json'} has no section 'trainer'", next_step=CONVERT)
    kind = str(trainer.get("dict_class", ""))
    kinds: dict[str, tuple[Activation, bool]] = {
        "AutoEncoder": ("relu", True), "AutoEncoderTopK": ("topk", True),
        "BatchTopKSAE": ("jumprelu", True), "MatryoshkaBatchTopKSAE": ("jumprelu", True),
        "JumpReluAutoEncoder": ("jumprelu", False),
    }  # fmt: skip
    if kind not in kinds:
        raise UsageError(
            f"{folder}: dict_class '{kind[:40]}' is not read", expected=", ".join(kinds)
        )
    state = read_safetensors(folder / "ae.safetensors")
    activation, centred = kinds[kind]
    names = {"encoder.bias": "b_enc", "bias": "b_dec"}
    tensors = {names.get(name, name): value for name, value in state.items()}
    for name, ours in (("encoder.weight", "W_enc"), ("decoder.weight", "W_dec")):
        if name in tensors:  # linear layers keep [out, in]
            tensors[ours] = tensors.pop(name).mT
    if activation == "jumprelu" and "threshold" in tensors and tensors["threshold"].ndim == 0:
        wide = tensors.get("b_enc", torch.zeros(0))
        tensors["threshold"] = tensors["threshold"].expand(len(wide))
    k = tensors.get("k", torch.tensor(0))
    layer = trainer.get("layer")
    return _build(
        _named(tensors, folder), activation, centred=centred,
        k=_count(k.item() if k.numel() == 1 else None, folder),
        site=f"resid_post.{layer}" if type(layer) is int and layer >= 0 else "",
        origin="dictionary_learning",
    )  # fmt: skip


def _build(
    tensors: Mapping[str, Tensor], activation: Activation, *, centred: bool, k: int, site: str,
    origin: str, notes: Mapping[str, Any] | None = None,
) -> SparseAutoencoder:  # fmt: skip
    jump = activation == "jumprelu"
    return SparseAutoencoder(
        tensors["w_enc"], tensors["b_enc"], tensors["w_dec"], tensors["b_dec"], activation,
        k=k if activation == "topk" else 0, threshold=tensors.get("threshold") if jump else None,
        centred=centred, site=site, origin=origin,
        notes={str(key): str(value) for key, value in (notes or {}).items()},
    )  # fmt: skip


def _named(tensors: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    """The tensors in float32 under lower-case names, none of the four absent."""
    found = {name.lower(): value for name, value in tensors.items()}
    for name in ("w_enc", "b_enc", "w_dec", "b_dec"):
        if name not in found:
            raise DataError(
                f"{where} lacks the tensor '{name}'", got=", ".join(sorted(found))[:120] or "none"
            )
    return {name: value.float().contiguous() for name, value in found.items()}


def _folded(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Unit decoder rows: what `rescale_acts_by_decoder_norm` means, without the flag."""
    norm = tensors["w_dec"].norm(dim=1).clamp_min(1e-8)
    if tensors["w_enc"].shape[-1] != len(norm) or tensors["b_enc"].shape != norm.shape:
        return tensors  # refused by the shapes
    return {
        **tensors, "w_enc": tensors["w_enc"] * norm, "b_enc": tensors["b_enc"] * norm,
        "w_dec": tensors["w_dec"] / norm[:, None],
    }  # fmt: skip


def _count(value: Any, where: Path) -> int:
    if type(value) is not int:
        raise DataError(f"{where}: k is no whole number", got=repr(value)[:40])
    return value


def _site(hook: str, where: Path) -> str:
    """`resid_post.L` of a hook name; the input of block L is the output of block L − 1."""
    if not hook:
        return ""
    for pattern, shift in _HOOKS:
        match = pattern.fullmatch(hook)
        if match and int(match[1]) + shift >= 0:
            return f"resid_post.{int(match[1]) + shift}"
    raise UsageError(
        f"{where}: the SAE belongs to '{hook[:60]}'", expected="the residual stream between blocks"
    )
