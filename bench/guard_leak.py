"""The leak of the subspace guard: what of a fine-tune's change lies in the protected subspace.

    python bench/guard_leak.py            optimizers x tuners, one process
    python bench/guard_leak.py --time     what a guarded step costs, side by side

A random model (4 blocks, d = 64, float32), a random subspace of 4 dimensions, 12 steps at a batch
of 8. Leak = ‖UᵀΔW‖/‖ΔW‖ over all matrices that write to the residual stream, on effective weights.
Every arm is trained three times: without a guard, with gradients projected before the step, and
with the guard. A result is printed as one row of the tables in docs/results/guard.md. More than one
device: `bench/guard_devices.py`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

OPTIMIZERS = {"adamw_torch": 1e-3, "adamw_bnb_8bit": 1e-3, "adafactor": 1e-3, "sgd": 1.0}
"""Optimizer, as transformers names it, with a learning rate at which weights move alike."""
TUNERS = ("full", "lora", "dora")
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


def rate_of(optimizer: str, tuner: str) -> float:
    """An adapter's learning rate is three times that of full weights."""
    return OPTIMIZERS[optimizer] * (1 if tuner == "full" else 3)


def trained(
    base: Path, out: Path, tuner: str, optimizer: str, found: list[Any], **more: Any
) -> Any:
    """Train one arm with TRL's SFTTrainer; return the trainer."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    rate = rate_of(optimizer, tuner)
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


def quiet() -> None:
    """One thread, no warnings, no bars."""
    import warnings

    from transformers.utils import logging

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--time", action="store_true")
    options = parser.parse_args()
    quiet()
    from holdfast.testing import tiny

    with tempfile.TemporaryDirectory() as folder:
        base, out = Path(folder) / "base", Path(folder) / "out"
        tiny.build(base, layers=LAYERS, hidden=WIDTH)
        (timing if options.time else single)(base, out)


if __name__ == "__main__":
    main()
