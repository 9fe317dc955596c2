"""The leak of the subspace guard on several processes: DDP, FSDP2, DeepSpeed ZeRO-2 and ZeRO-3.

    python bench/guard_devices.py ddp           two processes, gloo (also: fsdp2, ddp-replay)
    python bench/guard_devices.py zero3         needs deepspeed (also: zero2)
    make devices                                all of them, in an environment with deepspeed

Model, data and measure are those of `bench/guard_leak.py`; AdamW. Under DDP, and under DeepSpeed
with `--processes 1`, TRL's SFTTrainer trains; elsewhere a plain loop. A backend that did not run,
or ran on whole weights where it should hold parts, is an error and no row.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from guard_leak import (
    LAYERS,
    STEPS,
    TUNERS,
    WIDTH,
    basis,
    callbacks,
    leak_of,
    model_of,
    quiet,
    rate_of,
    rows,
    trained,
)
from torch import Tensor

BACKENDS = ("ddp", "ddp-replay", "fsdp2", "zero2", "zero3")


def distributed(base: Path, out: Path, backend: str, processes: int) -> None:
    """Start this file once per process and wait."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    workers = []
    for rank in range(processes):
        places = {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "DS_ACCELERATOR": "cpu",
            "LOCAL_SIZE": str(processes),
        }  # fmt: skip
        call = [sys.executable, __file__, backend, "--worker", "--base", str(base), "--out",
                str(out)]  # fmt: skip
        workers.append(subprocess.Popen(call, env={**os.environ, **places}))
    codes = [worker.wait() for worker in workers]
    if any(codes):
        raise SystemExit(f"{backend}: the processes ended with {codes}")


def worker(backend: str, base: Path, out: Path) -> None:
    """One process of a distributed table."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if backend == "ddp-replay":
        replayed(base, out)
        return
    for tuner in TUNERS:
        cells = []
        for arm in ("none", "guard"):
            if backend == "fsdp2" or (backend.startswith("zero") and world > 1):
                model = looped(base, backend, tuner, arm)
            else:
                made = trained(base, out / f"{tuner}-{arm}", tuner, "adamw_torch",
                               callbacks(arm, basis()), **_strategy(backend))  # fmt: skip
                real = made.accelerator.distributed_type.value.lower()
                if backend.startswith("zero") and real != "deepspeed":
                    raise SystemExit(f"{backend} was asked for, and {real} ran")
                model = weights_of(made.model, backend)
            if backend == "zero3":  # else every model loaded from here on is partitioned
                from transformers.integrations.deepspeed import unset_hf_deepspeed_config

                unset_hf_deepspeed_config()
            if rank == 0:
                cells.append(f"{leak_of(base, whole(base, tuner, model)):.1e}")
        if rank == 0:
            print(f"| {backend}, {world} processes | {tuner} | {' | '.join(cells)} |", flush=True)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def replayed(base: Path, out: Path) -> None:
    """Replay-KL under DDP: its gradient survives the reduction, and the ranks stay one model."""
    from holdfast.tuning.callback import HoldfastCallback
    from holdfast.tuning.protections.replay_kl.config import ReplayKLConfig
    from holdfast.tuning.protections.replay_kl.protection import ReplayKL

    prompts: Any = [[{"role": "user", "content": f"Show me the tide at {i}"}] for i in range(8)]
    ends = []
    for weight in (0.0, 20.0):
        guard = ReplayKL(ReplayKLConfig(weight=weight, every=1, share=0.25), prompts)
        callback = HoldfastCallback(protection=guard)
        made = trained(base, out / f"replay-{weight}", "lora", "adamw_torch", [callback],
                       **_strategy("ddp"))  # fmt: skip
        live: Any = made.accelerator.unwrap_model(made.model)
        ends.append(torch.cat([p.detach().flatten() for p in live.parameters()]))
    both = [torch.empty_like(ends[1]) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(both, ends[1])
    if torch.distributed.get_rank() == 0:
        report = callback.protection_reports()[0]
        print(
            f"| replay_kl guarded {report.guarded} of {report.due} steps "
            f"| ranks equal bit for bit: {torch.equal(*both)} "
            f"| differs from strength 0: {not torch.equal(*ends)} | |",
            flush=True,
        )


def zero(stage: int) -> dict[str, int]:
    """DeepSpeed's section; by default, stage 3 leaves weights as small as these whole."""
    return {"stage": stage, **({"stage3_param_persistence_threshold": 0} if stage == 3 else {})}


def _strategy(backend: str) -> dict[str, Any]:
    if backend == "ddp":
        return {"ddp_backend": "gloo", "average_tokens_across_devices": False}
    return {
        # With use_cpu=True, accelerate drops DeepSpeed without a word and wraps in DDP.
        "use_cpu": False,
        "ddp_backend": "gloo",
        "deepspeed": {
            "zero_optimization": zero(int(backend[-1])), "zero_force_ds_cpu_optimizer": False,
            "train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto",
        },
    }  # fmt: skip


def weights_of(model: Any, backend: str) -> dict[str, Tensor]:
    """The weights that a checkpoint would hold, whole, on every rank."""
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if backend == "zero3":
            import deepspeed

            if parameter.numel():
                raise SystemExit(f"{name} is whole under ZeRO-3: nothing was partitioned")
            with deepspeed.zero.GatheredParameters([parameter]):
                found[name] = parameter.detach().clone()
        elif hasattr(parameter, "full_tensor"):
            found[name] = parameter.full_tensor().detach()
        else:
            found[name] = parameter.detach().clone()
    return found


def whole(base: Path, tuner: str, weights: dict[str, Tensor]) -> Any:
    """A fresh model with these weights."""
    model = model_of(base, tuner)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    return model


def looped(base: Path, backend: str, tuner: str, arm: str) -> dict[str, Tensor]:
    """A plain loop over a model under `fully_shard` or a DeepSpeed engine, guarded at each step.

    On several CPU processes accelerate counts one under DeepSpeed, and its gathering fails.
    """
    import torch.distributed as dist

    from holdfast.models.loaded import LoadedModel
    from holdfast.tuning.protections.rules import Setting
    from holdfast.tuning.protections.subspace_guard.config import SubspaceGuardConfig
    from holdfast.tuning.protections.subspace_guard.protection import SubspaceGuard

    if not dist.is_initialized():
        dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    model = model_of(base, tuner)
    guard = SubspaceGuard(SubspaceGuardConfig(), {-1: basis()}) if arm == "guard" else None
    if guard:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(base))
        guard.prepare(LoadedModel.live(model, tokenizer), batch_rows=8)
    kind = "fsdp2" if backend == "fsdp2" else "deepspeed"
    rate = rate_of("adamw_torch", tuner)
    step = (
        _sharded(model, rate, world) if kind == "fsdp2"
        else _engine(model, rate, stage=int(backend[-1]))
    )  # fmt: skip
    if guard:
        guard.attach(model, Setting(tuner=tuner, backend=kind))
    batches = torch.tensor([row["input_ids"] for row in rows()])
    for turn in range(STEPS):
        batch = batches[(8 * (world * turn + rank)) % 64 :][:8]
        step(batch)
        if guard:
            guard.after_step(model, turn)
    return weights_of(model, backend)


def _adamw(model: Any, rate: float) -> torch.optim.AdamW:
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=rate, weight_decay=0.1)


def _sharded(model: Any, rate: float, world: int) -> Callable[[Tensor], None]:
    """Shard the blocks; a step on a batch."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from holdfast.models.architecture import decoder_layers

    mesh = init_device_mesh("cpu", (world,))
    for block in decoder_layers(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = _adamw(model, rate)

    def step(batch: Tensor) -> None:
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _engine(model: Any, rate: float, *, stage: int) -> Callable[[Tensor], None]:
    """Give the model to a DeepSpeed engine; a step on a batch."""
    import deepspeed

    engine, *_ = deepspeed.initialize(
        model=model, optimizer=_adamw(model, rate), dist_init_required=False,
        config={
            "train_micro_batch_size_per_gpu": 8, "zero_optimization": zero(stage),
            "zero_force_ds_cpu_optimizer": False, "zero_allow_untested_optimizer": True,
        },
    )  # fmt: skip

    def step(batch: Tensor) -> None:
        engine.backward(engine(input_ids=batch, labels=batch).loss)
        engine.step()

    return step


def main() -> None:
    """Print the table of one backend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backend", choices=BACKENDS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.backend.startswith("zero") and find_spec("deepspeed") is None:
        parser.error(f"{options.backend} needs deepspeed, not installed here: make devices")
    quiet()
    if options.worker:
        worker(options.backend, options.base, options.out)
        return
    from holdfast.testing import tiny

    with tempfile.TemporaryDirectory() as folder:
        base, out = Path(folder) / "base", Path(folder) / "out"
        tiny.build(base, layers=LAYERS, hidden=WIDTH)
        print("| backend | tuner | no guard | guard |\n|---|---|---|---|", flush=True)
        distributed(base, out, options.backend, options.processes)


if __name__ == "__main__":
    main()
