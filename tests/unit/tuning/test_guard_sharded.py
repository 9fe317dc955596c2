"""The guard on two processes: under FSDP2 every rank holds a part, and the sum is held the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from holdfast.models.architecture import decoder_layers
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.tuning.hf.adapters import add_adapter
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.tuning.protections.rules import Setting
from holdfast.tuning.protections.subspace_guard.config import SubspaceGuardConfig
from holdfast.tuning.protections.subspace_guard.measure import effective, leak
from holdfast.tuning.protections.subspace_guard.protection import SubspaceGuard

U = torch.linalg.qr(torch.randn(32, 3, generator=torch.Generator().manual_seed(0)))[0].double()
TUNERS = ("full", "lora", "dora")
WORLD = 2


def _model(base: Path, tuner: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = load(base).model
    return model if tuner == "full" else add_adapter(model, SFTConfig(tuner=tuner, rank=4))


def _shake(model: torch.nn.Module) -> None:
    """The same noise on the same weights, wherever they are."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                noise = 0.1 * torch.randn(parameter.shape, generator=generator)
                if isinstance(parameter, DTensor):
                    noise = distribute_tensor(noise, parameter.device_mesh, parameter.placements)
                parameter.add_(noise)


def _held(base: Path, tuner: str, strength: float, *, shard: bool) -> dict[str, torch.Tensor]:
    """Whole weights after one guarded change, the same on every rank."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    model = _model(base, tuner)
    guard = SubspaceGuard(SubspaceGuardConfig(strength=strength), {-1: U})
    guard.prepare(LoadedModel.live(model, load(base).tokenizer), batch_rows=4)
    if shard:
        mesh = init_device_mesh("cpu", (WORLD,))
        for block in (*decoder_layers(model), model):
            fully_shard(block, mesh=mesh)
        assert all(isinstance(p, DTensor) for p in model.parameters())
    guard.attach(model, Setting(tuner=tuner, backend="fsdp2" if shard else "single"))
    _shake(model)
    assert guard.after_step(model, 0)
    found = {n: p.detach() for n, p in model.named_parameters()}
    return {n: p.full_tensor() if isinstance(p, DTensor) else p for n, p in found.items()}


def _worker(rank: int, base: Path, meeting: Path, out: Path) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=WORLD)
    found = {
        f"{tuner}, {strength}": _held(base, tuner, strength, shard=True)
        for tuner in TUNERS for strength in (0.0, 1.0)
    }  # fmt: skip
    torch.save(found, out / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each rank ended with."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(_worker, (base, folder / "meeting", folder), nprocs=WORLD)
    return [torch.load(folder / f"{r}.pt", weights_only=True) for r in range(WORLD)]


@pytest.mark.parametrize("tuner", TUNERS)
def test_sharded_weights_are_held_as_whole_ones_are(base: Path, ranks: list[dict], tuner: str):
    before = effective(load(base).model)
    leaks = {}
    for strength in (0.0, 1.0):
        first, second = (found[f"{tuner}, {strength}"] for found in ranks)
        alone = _held(base, tuner, strength, shard=False)
        for name, weight in first.items():
            assert torch.equal(weight, second[name])
            assert torch.allclose(weight, alone[name], atol=1e-6), name
        model = _model(base, tuner)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(first[name])
        leaks[strength] = leak(before, effective(model), {0: U, 1: U})
    assert leaks[0.0] > 0.1
    assert leaks[1.0] < 1e-6
