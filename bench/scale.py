"""What each protection costs a 70 B run, on paper; and the same formulas against small runs.

    python bench/scale.py              the tables of docs/scale.md (no torch)
    python bench/scale.py --check      on harbor: predicted and measured share of a step
    python bench/scale.py --check --backend fsdp2     collectives between two processes

The formulas are `holdfast.tuning.protections.costs`; their bytes are checked exactly in the tests.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from holdfast.tuning.protections import costs
from holdfast.tuning.protections.costs import Cost, Shape, Training, Tuner

LLAMA_70B = Shape(layers=80, width=8192, inner=28672, heads=8192, keys=1024, vocab=128256)
FLOPS = 4e14
"""Achieved per device: 40 % of a dense bfloat16 peak of 989 TFLOP/s."""
LINK = 5e10
"""Bytes per second that a device sends to others: 400 Gbit/s."""
F64_FLOPS = 3e13
"""Achieved in float64, in which the guard projects."""
ROWS, LENGTH, ANSWER, SET = 4, 4096, 512, 20_000
TUNERS: tuple[Tuner, ...] = ("full", "lora")
DEVICES = (8, 16, 32, 64)


def protections(training: Training, *, sharded: bool) -> dict[str, Cost]:
    """Every protection at its defaults, with prompts and answers of a usual length."""
    asked: dict[str, Any] = {"prompt": 150, "answer": 24}
    return {
        "replay_kl": costs.replay_kl(training, **asked),
        "safegrad": costs.safegrad(training, **asked),
        "subspace_guard, k = 8": costs.subspace_guard(training, sharded=sharded),
        "weight_ema": costs.weight_ema(training),
        "constrained": costs.constrained(training, rows=SET, answer=ANSWER),
        "steering, 3 layers": costs.stream(training, layers=3, k=0),
        "caft, 3 layers, k = 8": costs.stream(training, layers=3, k=8),
    }


def seconds(name: str, cost: Cost) -> float:
    """Time that a protection adds to one update of one device, on paper."""
    rate = F64_FLOPS if name.startswith("subspace") else FLOPS
    return cost.flops / rate + cost.traffic / LINK


def size(value: float) -> str:
    """Bytes for people."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f} B"


def paper() -> None:
    """The tables for 70 B."""
    n = LLAMA_70B.parameters
    print(f"N = {n / 1e9:.1f} B parameters; {ROWS} rows of {LENGTH} tokens on each device\n")
    for tuner in TUNERS:
        first = Training(LLAMA_70B, tuner, ROWS, LENGTH, devices=8)
        held = 16 * n if tuner == "full" else 2 * n + 16 * first.trained
        step = first.flops / FLOPS
        print(f"**{tuner}**: {first.trained / 1e9:.3g} B trained; weights, gradients and AdamW "
              f"{size(held)} in all; {step:.1f} s for an update\n")  # fmt: skip
        print("| protection | held on each device, 8 / 64 | peak beyond | sent for an update, 64 | "
              "calls, 64 | time, 8 / 64 | once |")  # fmt: skip
        print("|---|---|---|---|---|---|---|")
        for name in protections(first, sharded=True):
            found = {}
            for devices in (8, 64):
                training = Training(LLAMA_70B, tuner, ROWS, LENGTH, devices=devices)
                found[devices] = protections(training, sharded=True)[name]
            kept = [size(c.resident + c.sharded / g) for g, c in found.items()]
            times = [f"+{seconds(name, c) / step:.2%}" for c in found.values()]
            last = found[64]
            print(f"| {name} | {' / '.join(kept)} | {size(last.transient)} | "
                  f"{size(last.traffic)} | {last.collectives:.0f} | {' / '.join(times)} | "
                  f"{last.once / FLOPS:.1f} s |")  # fmt: skip
        look = costs.monitor_look(first, explain=True, prompt=150) / FLOPS
        print(f"| monitor, one look | {size(costs.monitor_memory(first))} | – | – | – | "
              f"{look:.2f} s; auto: 2 % of the run | {look:.1f} s |\n")  # fmt: skip
    print("| devices | weights and AdamW of full training on each | of LoRA | "
          "guard under ZeRO, received for an update (full) | as time |")  # fmt: skip
    print("|---|---|---|---|---|")
    for devices in DEVICES:
        full = Training(LLAMA_70B, "full", ROWS, LENGTH, devices=devices)
        lora = Training(LLAMA_70B, "lora", ROWS, LENGTH, devices=devices)
        got = costs.zero_guard_traffic(full)
        share = got / LINK / (full.flops / FLOPS)
        print(
            f"| {devices} | {size(16 * n / devices)} | "
            f"{size((2 * n + 16 * lora.trained) / devices)} | {size(got)} | +{share:.1%} |"
        )


def check() -> None:
    """Predicted and measured share of a step on harbor, CPU time, one thread.

    Work inside the forward pass (steering, caft, constrained) cannot be told from training's.
    """
    import torch

    from holdfast.models.loading import load
    from holdfast.organisms.harbor import contrast, weights_dir
    from holdfast.testing import arms
    from holdfast.tuning.hf.adapters import add_adapter
    from holdfast.tuning.methods.sft.config import SFTConfig
    from holdfast.tuning.protections.base import Materials
    from holdfast.tuning.protections.registry import config_of
    from holdfast.tuning.protections.rules import Setting
    from holdfast.tuning.protections.stack import make

    torch.set_num_threads(1)
    shape = Shape(layers=4, width=192, inner=512, heads=192, keys=192, vocab=1024, tied=True)
    training = Training(shape, "lora", 32, 64, rank=8)
    prompts: Any = [row["messages"] for row in contrast.replay_buffer(0, 64)]
    ids = torch.randint(6, 1024, (32, 64), generator=torch.Generator().manual_seed(0))
    fitted = arms.fitted_map(weights_dir())
    print("| protection | predicted | measured, CPU time over 12 steps |\n|---|---|---|")
    for name in ("replay_kl", "safegrad", "subspace_guard", "weight_ema"):
        base = load(weights_dir())
        part = make([(name, config_of(name)())], Materials(prompts, fitted))
        part.prepare(base, batch_rows=training.rows)
        model = add_adapter(base.model, SFTConfig(rank=8, alpha=16))
        part.attach(model, Setting(tuner="lora"))
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
        ours, theirs = [], []
        for step in range(14):
            spent = 0.0

            def timed(call: Callable[..., Any]) -> None:
                nonlocal spent
                begin = time.process_time()
                call(model, step)  # noqa: B023
                spent += time.process_time() - begin

            begin = time.process_time()
            timed(part.act) if part.due(step) else None
            model(input_ids=ids, labels=ids).loss.backward()
            timed(part.before_step)
            optimizer.step()
            timed(part.after_step)
            optimizer.zero_grad()
            theirs.append(time.process_time() - begin - spent)
            ours.append(spent)
        share = sum(ours[2:]) / sum(theirs[2:])
        print(f"| {name} | {predicted(name, training, part):.3f} | {share:.3f} |", flush=True)


def predicted(name: str, training: Training, part: Any) -> float:
    """Share of a step by operations alone."""
    if name in ("replay_kl", "safegrad"):
        replay = getattr(part, "_replay", part)
        tokens = [b.input_ids.numel() for b in replay._batches]
        every = replay.config.every
        return sum(tokens) / len(tokens) / every / (training.rows * training.length)
    if name == "subspace_guard":
        k = max(basis.shape[1] for basis in part.bases.values())
        return costs.subspace_guard(training, k=k).flops / training.flops
    return costs.weight_ema(training).flops / training.flops


def collectives(worker: bool) -> None:
    """All-reduces of the guard under FSDP2 on two processes, counted with their bytes."""
    if not worker:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        calls = [
            subprocess.Popen(
                [sys.executable, __file__, "--check", "--backend", "fsdp2", "--worker"],
                env={**os.environ, "RANK": str(r), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                     "MASTER_PORT": port},
            )
            for r in range(2)
        ]  # fmt: skip
        if any(call.wait() for call in calls):
            raise SystemExit("a process failed")
        return
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.utils._python_dispatch import TorchDispatchMode

    from holdfast.models.architecture import decoder_layers
    from holdfast.models.loading import load
    from holdfast.organisms.harbor import weights_dir
    from holdfast.tuning.protections.rules import Setting
    from holdfast.tuning.protections.subspace_guard.config import SubspaceGuardConfig
    from holdfast.tuning.protections.subspace_guard.protection import SubspaceGuard

    class Counting(TorchDispatchMode):
        """Bytes of every all-reduce that is dispatched."""

        def __init__(self) -> None:
            super().__init__()
            self.found: list[int] = []

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if "all_reduce" in str(func):
                self.found.append(args[0].numel() * args[0].element_size())
            return func(*args, **(kwargs or {}))

    dist.init_process_group("gloo")
    loaded = load(weights_dir())
    guard = SubspaceGuard(SubspaceGuardConfig(), {-1: torch.linalg.qr(torch.randn(192, 4))[0]})
    mesh = init_device_mesh("cpu", (2,))
    for block in decoder_layers(loaded.model):
        fully_shard(block, mesh=mesh)
    fully_shard(loaded.model, mesh=mesh)
    loaded.model.requires_grad_(True)
    guard.prepare(loaded, batch_rows=4)
    guard.attach(loaded.model, Setting(tuner="full", backend="fsdp2"))
    with Counting() as counting:
        guard.after_step(loaded.model, 0)
    if dist.get_rank() == 0:
        shape = Shape(layers=4, width=192, inner=512, heads=192, keys=192, vocab=1024, tied=True)
        training = Training(shape, "full", 4, 64, devices=2)
        expected = costs.subspace_guard(training, k=4, sharded=True)
        print("| guard under FSDP2, two processes | predicted | measured |\n|---|---|---|")
        print(f"| all-reduces for an update | {expected.collectives:.0f} | {len(counting.found)} |")
        print(f"| bytes sent by a device in a ring | {expected.traffic:.0f} | "
              f"{costs.ring(sum(counting.found), 2):.0f} |")  # fmt: skip
    dist.destroy_process_group()


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--backend", choices=("single", "fsdp2"), default="single")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.check:
        paper()
    elif options.backend == "fsdp2":
        collectives(options.worker)
    else:
        check()


if __name__ == "__main__":
    main()
