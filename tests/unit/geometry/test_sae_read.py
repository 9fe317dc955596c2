"""SAE files: every layout as its makers write it, and hostile ones."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from holdfast.core.errors import DataError, HoldfastError, IntegrityError, RefusedError, UsageError
from holdfast.geometry.sae.autoencoder import SparseAutoencoder, check_size
from holdfast.geometry.sae.read import read, write

D, M = 6, 10


def weights(seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "W_enc": torch.randn(D, M, generator=g), "b_enc": torch.randn(M, generator=g) * 0.1,
        "W_dec": torch.randn(M, D, generator=g), "b_dec": torch.randn(D, generator=g),
    }  # fmt: skip


def x_of(seed: int = 9) -> Tensor:
    return torch.randn(7, D, generator=torch.Generator().manual_seed(seed))


def saelens(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config))
    safetensors.torch.save_file(tensors, folder / "sae_weights.safetensors")
    return folder


def lens_config(**changes: Any) -> dict[str, Any]:
    """A `cfg.json` as sae-lens 6.54 writes it."""
    return {
        "d_in": D, "d_sae": M, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True,
        "normalize_activations": "none", "reshape_activations": "none",
        "architecture": "topk", "k": 3, "rescale_acts_by_decoder_norm": False,
        "metadata": {"sae_lens_version": "6.54.12", "hook_name": "blocks.4.hook_resid_post"},
        **changes,
    }  # fmt: skip


def test_saelens_topk(tmp_path: Path) -> None:
    w = weights()
    sae = read(saelens(tmp_path, lens_config(), w))
    x = x_of()
    z = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    top = z.topk(3, dim=-1)
    f = torch.zeros_like(z).scatter(-1, top.indices, top.values.relu())
    assert torch.allclose(sae.encode(x), f)
    assert torch.allclose(sae.reconstruct(x), f @ w["W_dec"] + w["b_dec"], atol=1e-5)
    assert (sae.site, sae.k, sae.origin) == ("resid_post.4", 3, "saelens")


def test_saelens_rescaled_by_decoder_norm(tmp_path: Path) -> None:
    """The flag ranks by activation times decoder norm; folding it gives the same output."""
    w = weights()
    sae = read(saelens(tmp_path, lens_config(rescale_acts_by_decoder_norm=True), w))
    x, norm = x_of(), w["W_dec"].norm(dim=1)
    z = ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * norm
    top = z.topk(3, dim=-1)
    f = torch.zeros_like(z).scatter(-1, top.indices, top.values.relu())
    assert torch.allclose(sae.encode(x), f, atol=1e-5)
    assert torch.allclose(sae.reconstruct(x), (f / norm) @ w["W_dec"] + w["b_dec"], atol=1e-5)


def test_saelens_standard_and_jumprelu_and_old_layout(tmp_path: Path) -> None:
    w = weights()
    standard = lens_config(architecture="standard", apply_b_dec_to_input=False)
    sae = read(saelens(tmp_path / "a", standard, w))
    assert torch.allclose(sae.encode(x_of()), (x_of() @ w["W_enc"] + w["b_enc"]).relu())
    jump = read(
        saelens(tmp_path / "b", lens_config(architecture="jumprelu"),
                {**w, "threshold": torch.full((M,), 0.5)})
    )  # fmt: skip
    z = (x_of() - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    assert torch.allclose(jump.encode(x_of()), torch.where(z > 0.5, z, 0.0))
    old = {
        "d_in": D, "d_sae": M, "hook_point": "blocks.3.hook_resid_pre",
        "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2},
        "normalize_activations": None,
    }  # fmt: skip
    sae = read(saelens(tmp_path / "c", old, w))
    assert (sae.activation, sae.k, sae.site) == ("topk", 2, "resid_post.2")


@pytest.mark.parametrize("change", [
    {"architecture": "gated"}, {"normalize_activations": "layer_norm"},
    {"reshape_activations": "hook_z"},
    {"metadata": {"hook_name": "blocks.1.hook_mlp_out"}},
    {"metadata": {"hook_name": "blocks.0.hook_resid_pre"}},
])  # fmt: skip
def test_saelens_that_would_be_misread_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        read(saelens(tmp_path, lens_config(**change), weights()))


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_gemma_scope(tmp_path: Path, suffix: str) -> None:
    """params.npz as published for Gemma 2, params.safetensors (lower case) for Gemma 3."""
    w = {**weights(), "threshold": torch.rand(M)}
    folder = tmp_path / "layer_20" / "width_16k" / "average_l0_71"
    folder.mkdir(parents=True)
    if suffix == "npz":
        np.savez(folder / "params.npz", **{k: v.numpy() for k, v in w.items()})
    else:
        low = {k.lower(): v for k, v in w.items()}
        safetensors.torch.save_file(low, folder / "params.safetensors")
    x = x_of()
    z = x @ w["W_enc"] + w["b_enc"]
    f = (z > w["threshold"]) * z.relu()
    for path in (folder, folder / f"params.{suffix}"):
        sae = read(path)
        assert torch.allclose(sae.encode(x), f)
        assert torch.allclose(sae.reconstruct(x), f @ w["W_dec"] + w["b_dec"], atol=1e-5)
        assert (sae.site, sae.centred) == ("resid_post.20", False)
    assert read(folder, site="resid_post.3").layer == 3


def dictionary(folder: Path, kind: str, state: dict[str, Tensor]) -> Path:
    config = {
        "trainer": {"dict_class": kind, "activation_dim": D, "dict_size": M, "k": 3, "layer": 11,
                    "lm_name": "m", "submodule_name": "resid_post_layer_11"},
        "buffer": {"ctx_len": 1024},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.torch.save_file(state, folder / "ae.safetensors")
    return folder


def test_dictionary_learning(tmp_path: Path) -> None:
    w, x = weights(), x_of()
    linear = {
        "encoder.weight": w["W_enc"].mT.contiguous(), "encoder.bias": w["b_enc"],
        "decoder.weight": w["W_dec"].mT.contiguous(),
    }  # fmt: skip
    z = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    sae = read(dictionary(tmp_path, "AutoEncoder", {**linear, "bias": w["b_dec"]}))
    assert torch.allclose(sae.encode(x), z.relu(), atol=1e-6)
    extra = {
        "b_dec": w["b_dec"], "k": torch.tensor(3, dtype=torch.int32),
        "threshold": torch.tensor(0.4),
    }  # fmt: skip
    sae = read(dictionary(tmp_path, "AutoEncoderTopK", {**linear, **extra}))
    top = z.relu().topk(3, dim=-1)  # its threshold is saved and not used
    assert torch.allclose(sae.encode(x), torch.zeros_like(z).scatter(-1, *top[::-1]), atol=1e-6)
    sae = read(dictionary(tmp_path, "BatchTopKSAE", {**linear, **extra}))
    assert torch.allclose(sae.encode(x), torch.where(z > 0.4, z, 0.0), atol=1e-6)
    jump = {**w, "threshold": torch.full((M,), 0.2)}
    sae = read(dictionary(tmp_path, "JumpReluAutoEncoder", jump))
    z = x @ w["W_enc"] + w["b_enc"]
    assert torch.allclose(sae.encode(x), torch.where(z > 0.2, z, 0.0), atol=1e-6)
    assert sae.site == "resid_post.11"
    with pytest.raises(UsageError, match="GatedAutoEncoder"):
        read(dictionary(tmp_path, "GatedAutoEncoder", jump))


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


def test_a_pickle_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "ae.pt").write_bytes(pickle.dumps(Bomb()))
    for path in (tmp_path, tmp_path / "ae.pt"):
        with pytest.raises(RefusedError, match=r"save_file"):
            read(path)
    np.savez(tmp_path / "params.npz", W_enc=np.array([Bomb()], dtype=object))
    with pytest.raises(DataError):
        read(tmp_path / "params.npz")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["W_enc", "b_enc", "W_dec", "b_dec"])
def test_absent_misshapen_and_nan_tensors(tmp_path: Path, name: str) -> None:
    for change in (None, weights()[name].flatten()[:-1].clone(), weights()[name] * torch.nan):
        tensors = {k: v for k, v in weights().items() if k != name}
        if change is not None:
            tensors[name] = change
        with pytest.raises(DataError):
            read(saelens(tmp_path, lens_config(), tensors))


@pytest.mark.parametrize("k", [0, -1, M + 1, "3", 2.5, None])
def test_bad_k(tmp_path: Path, k: Any) -> None:
    with pytest.raises(DataError):
        read(saelens(tmp_path, lens_config(k=k), weights()))


def test_huge_and_broken_files(tmp_path: Path) -> None:
    header = json.dumps(
        {"W_enc": {"dtype": "F32", "shape": [1 << 20, 1 << 20], "data_offsets": [0, 1 << 42]}}
    ).encode()
    (tmp_path / "cfg.json").write_text(json.dumps(lens_config()))
    path = tmp_path / "sae_weights.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 64)
    with pytest.raises(IntegrityError):
        read(tmp_path)
    with pytest.raises(DataError):
        check_size(1 << 10, 1 << 30)
    (tmp_path / "cfg.json").write_text("[" * 5000)
    with pytest.raises(DataError):
        read(tmp_path)
    (tmp_path / "cfg.json").write_text("{" + " " * (1 << 20) + "}")
    with pytest.raises(DataError, match="too large"):
        read(tmp_path)
    with pytest.raises(UsageError, match="no SAE"):
        read(tmp_path / "nowhere")


def test_npz_bombs_and_lies(tmp_path: Path) -> None:
    def archive(shape: tuple[int, ...], body: bytes) -> Path:
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            buffer, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )
        path = tmp_path / "params.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("W_enc.npy", buffer.getvalue() + body)
        return path

    with pytest.raises(DataError, match="not as long"):  # terabytes claimed, nothing there
        read(archive((1 << 20, 1 << 20), b""))
    with pytest.raises(DataError, match="not as long"):  # a bomb behind a small array
        read(archive((2, 2), b"\0" * (1 << 22)))
    (tmp_path / "params.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(IntegrityError):
        read(tmp_path / "params.npz")


@pytest.mark.parametrize("activation", ["relu", "topk", "jumprelu"])
def test_written_and_read_again(tmp_path: Path, activation: Any) -> None:
    w = weights()
    sae = SparseAutoencoder(
        w["W_enc"], w["b_enc"], w["W_dec"], w["b_dec"], activation, k=4,
        threshold=torch.full((M,), 0.1) if activation == "jumprelu" else None,
        site="resid_post.2", notes={"seed": "3"},
    )  # fmt: skip
    write(sae, tmp_path)
    again = read(tmp_path)
    assert torch.equal(again.encode(x_of()), sae.encode(x_of()))
    assert (again.site, again.notes, again.digest()) == (
        sae.site,
        sae.notes,
        read(tmp_path).digest(),
    )
    write(sae, tmp_path, dtype=torch.float16)
    half = read(tmp_path)
    assert half.w_enc.dtype == torch.float32
    assert torch.allclose(half.w_enc, sae.w_enc, atol=2e-3)


def test_every_refusal_is_one_of_ours(tmp_path: Path) -> None:
    for name, content in (("params.npz", b""), ("x.npz", b"\0" * 100), ("x.safetensors", b"{}")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(HoldfastError):
            read(tmp_path / name)
