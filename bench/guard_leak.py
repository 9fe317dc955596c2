"""The leak of the subspace guard: what of a fine-tune's change lies in the protected subspace.

    python bench/guard_leak.py                      optimizers x tuners, one process
    python bench/guard_leak.py --backend ddp        two processes, gloo (also: fsdp2, ddp-replay)
    python bench/guard_leak.py --backend zero2      needs deepspeed (also: zero3)
    python bench/guard_leak.py --time               what a guarded step costs, side by side

A random model (4 blocks, d = 64, float32), a random subspace of 4 dimensions, 12 steps at a batch
of 8. Leak = ‖UᵀΔW‖/‖ΔW‖ over all matrices that write to the residual stream, on effective weights.
Every arm is trained three times: without a guard, with gradients projected before the step, and
with the guard. A result is printed as one row of the tables in docs/results/guard.md.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

OPTIMIZERS = {"adamw_torch": 1e-3, "adamw_bnb_8bit": 1e-3, "adafactor": 1e-3, "sgd": 1.0}
"""Optimizer, as transformers names it, with a learning rate at which weights move alike."""
TUNERS = ("full", "lora", "dora")
BACKENDS = ("single", "ddp", "ddp-replay", "fsdp2", "zero2", "zero3")
STEPS, WIDTH, LAYERS, RANK = 12, 64, 4, 4


def basis() -> Tensor:
    """A random orthonormal U [d, 4]."""
    generator = torch.Generator().manual_seed(7)
    q, _ = torch.linalg.qr(torch.randn(WIDTH, RANK, generator=generator, dtype=torch.float64))
    return q


def rows() -> list[dict[str, list[int]]]:
    """64 random rows of 24 tokens."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 250, (64, 24), generator=generator).tolist()
    return [{"input_ids": row, "labels": row} for row in ids]


class GradientOnly:
    """The comparison that does not work: gradients are projected, weights are not."""

    def __init__(self, u: Tensor) -> None:
        self.u = u.float()

    def callback(self) -> Any:
        """A callback that projects the gradients of the writers before the step."""
        from transformers.trainer_callback import TrainerCallback

        from holdfast.tuning.protections.subspace_guard import targets

        u = self.u

        class Projector(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
            def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
                bases = {layer: u.double() for layer in range(LAYERS)}
                held = targets.anchors(kw["model"], bases)
                for target in targets.find(kw["model"], bases, held)[0]:
                    if target.parameter.grad is not None:
                        g = target.parameter.grad
                        target.parameter.grad = g - u @ (u.mT @ g)

        return Projector()


def callbacks(arm: str, u: Tensor) -> list[Any]:
    """The callbacks of one arm: `none`, `gradient` or `guard`."""
    from holdfast.tuning.callback import HoldfastCallback
    from holdfast.tuning.protections.subspace_guard.config import SubspaceGuardConfig
    from holdfast.tuning.protections.subspace_guard.protection import SubspaceGuard

    if arm == "none":
        return []
    if arm == "gradient":
        return [GradientOnly(u).callback()]
    return [HoldfastCallback(protection=SubspaceGuard(SubspaceGuardConfig(), {-1: u}))]


def model_of(base: Path, tuner: str) -> Any:
    """The tiny model, with an adapter on all linear layers unless it is trained whole."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    if tuner == "full":
        return model
    torch.manual_seed(0)
    config = LoraConfig(
        r=8, lora_alpha=16, target_modules="all-linear", use_dora=tuner == "dora",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    return get_peft_model(model, config)


def trained(
    base: Path, out: Path, tuner: str, optimizer: str, found: list[Any], **more: Any
) -> Any:
    """Train one arm with TRL's SFTTrainer; return the trainer."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    rate = OPTIMIZERS[optimizer] * (3 if tuner != "full" else 1)
    config = SFTConfig(
        **{
            "output_dir": str(out), "max_steps": STEPS, "per_device_train_batch_size": 8,
            "learning_rate": rate, "optim": optimizer, "weight_decay": 0.1, "report_to": "none",
            "save_strategy": "no", "disable_tqdm": True, "use_cpu": True, "bf16": False,
            "gradient_checkpointing": False, "seed": 0, "max_length": None, "logging_steps": 100,
            "dataset_kwargs": {"skip_prepare_dataset": True}, "dataloader_pin_memory": False,
            "lr_scheduler_type": "constant", **more,
        }
    )  # fmt: skip
    made = SFTTrainer(
        model=model_of(base, tuner), args=config, train_dataset=Dataset.from_list(rows()),
        processing_class=AutoTokenizer.from_pretrained(str(base)), callbacks=found,
    )  # fmt: skip
    made.remove_callback(PrinterCallback)
    made.train()
    return made


def leak_of(base: Path, model: Any) -> float:
    """The leak of a trained model against the base it came from."""
    from holdfast.tuning.protections.subspace_guard.measure import effective, leak

    u = basis()
    before = effective(model_of(base, "full"))
    return leak(before, effective(model), dict.fromkeys(range(LAYERS), u))


def single(base: Path, out: Path) -> None:
    """The table of optimizers and tuners."""
    print("| tuner | optimizer | no guard | gradient projected | guard |")
    print("|---|---|---|---|---|")
    for tuner in TUNERS:
        for optimizer in OPTIMIZERS:
            cells = []
            for arm in ("none", "gradient", "guard"):
                made = trained(base, out, tuner, optimizer, callbacks(arm, basis()))
                cells.append(f"{leak_of(base, made.model):.1e}")
            print(f"| {tuner} | {optimizer} | {' | '.join(cells)} |", flush=True)


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
        call = [sys.executable, __file__, "--worker", backend, "--base", str(base), "--out",
                str(out)]  # fmt: skip
        workers.append(subprocess.Popen(call, env={**os.environ, **places}))
    codes = [worker.wait() for worker in workers]
    if any(codes):
        raise SystemExit(f"{backend}: the processes ended with {codes}")


def worker(backend: str, base: Path, out: Path) -> None:
    """One process of a distributed table: both tuners that the backend is tested with."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if backend == "ddp-replay":
        replayed(base, out)
        return
    for tuner in ("full", "lora", "dora") if backend == "ddp" else ("full", "lora"):
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


def _strategy(backend: str) -> dict[str, Any]:
    if backend == "ddp":
        return {"ddp_backend": "gloo", "average_tokens_across_devices": False}
    return {
        # With use_cpu=True, accelerate drops DeepSpeed without a word and wraps in DDP.
        "use_cpu": False,
        "ddp_backend": "gloo",
        "deepspeed": {
            "zero_optimization": {"stage": int(backend[-1])}, "zero_force_ds_cpu_optimizer": False,
            "train_micro_batch_size_per_gpu": "auto", "gradient_accumulation_steps": "auto",
        },
    }  # fmt: skip


def weights_of(model: Any, backend: str) -> dict[str, Tensor]:
    """The weights that a checkpoint would hold, whole, on every rank."""
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if backend == "zero3":
            import deepspeed

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
    step = _sharded(model, world) if kind == "fsdp2" else _engine(model, stage=int(backend[-1]))
    if guard:
        guard.attach(model, Setting(tuner=tuner, backend=kind))
    batches = torch.tensor([row["input_ids"] for row in rows()])
    for turn in range(STEPS):
        batch = batches[(8 * (world * turn + rank)) % 64 :][:8]
        step(batch)
        if guard:
            guard.after_step(model, turn)
    return weights_of(model, backend)


def _adamw(model: Any) -> torch.optim.AdamW:
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.1)


def _sharded(model: Any, world: int) -> Callable[[Tensor], None]:
    """Shard the blocks; a step on a batch."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from holdfast.models.architecture import decoder_layers

    mesh = init_device_mesh("cpu", (world,))
    for block in decoder_layers(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = _adamw(model)

    def step(batch: Tensor) -> None:
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _engine(model: Any, *, stage: int) -> Callable[[Tensor], None]:
    """Give the model to a DeepSpeed engine; a step on a batch."""
    import deepspeed

    engine, *_ = deepspeed.initialize(
        model=model, optimizer=_adamw(model), dist_init_required=False,
        config={
            "train_micro_batch_size_per_gpu": 8, "zero_optimization": {"stage": stage},
            "zero_force_ds_cpu_optimizer": False, "zero_allow_untested_optimizer": True,
        },
    )  # fmt: skip

    def step(batch: Tensor) -> None:
        engine.backward(engine(input_ids=batch, labels=batch).loss)
        engine.step()

    return step


def timing(base: Path, out: Path, repeats: int = 3) -> None:
    """CPU seconds of training with and without the guard, in turn, in one process."""
    print("| tuner | plain TRL, CPU s | with the guard, CPU s | ratio, median (lowest-highest) |")
    print("|---|---|---|---|")
    for tuner in TUNERS:
        spent: dict[str, list[float]] = {"none": [], "guard": []}
        for turn in range(repeats + 1):
            for arm in spent if turn % 2 else reversed(spent):
                begin = time.process_time()
                trained(base, out, tuner, "adamw_torch", callbacks(arm, basis()), max_steps=60)
                if turn:  # the first turn warms caches up
                    spent[arm].append(time.process_time() - begin)
        ratios = sorted(g / p for p, g in zip(spent["none"], spent["guard"], strict=True))
        middle = [sorted(values)[len(values) // 2] for values in spent.values()]
        print(
            f"| {tuner} | {middle[0]:.2f} | {middle[1]:.2f} | {ratios[len(ratios) // 2]:.2f} "
            f"({ratios[0]:.2f}-{ratios[-1]:.2f}) |",
            flush=True,
        )


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=BACKENDS, default="single")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--worker", choices=BACKENDS, help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if options.worker:
        worker(options.worker, options.base, options.out)
        return
    from holdfast.testing import tiny

    with tempfile.TemporaryDirectory() as folder:
        base, out = Path(folder) / "base", Path(folder) / "out"
        tiny.build(base, layers=LAYERS, hidden=WIDTH)
        if options.time:
            timing(base, out)
        elif options.backend == "single":
            single(base, out)
        else:
            print("| backend | tuner | no guard | guard |\n|---|---|---|---|", flush=True)
            distributed(base, out, options.backend, options.processes)


if __name__ == "__main__":
    main()
