"""TRL's trainers, quiet and with nothing left to their defaults that matters to us."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.tuning.methods.settings import TrainConfig


def shared_arguments(config: TrainConfig, *, folder: Path, cpu: bool) -> dict[str, Any]:
    """Arguments that every trainer takes: checkpoints as asked for, every loss logged.

    Only the two newest checkpoints are kept: with two, one is always whole.
    """
    linear = config.schedule == "linear"
    return {
        "output_dir": str(folder), "use_cpu": cpu,
        "seed": config.seed, "data_seed": config.seed,
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.accumulation,
        "gradient_checkpointing": config.gradient_checkpointing,
        "learning_rate": config.learning_rate, "weight_decay": config.weight_decay,
        "lr_scheduler_type": "linear" if linear else "constant_with_warmup",
        "warmup_steps": config.warmup_steps, "max_grad_norm": config.max_grad_norm,
        "num_train_epochs": config.epochs,
        "save_strategy": "steps" if config.checkpoint_every else "epoch",
        "save_steps": config.checkpoint_every or 500,
        "save_total_limit": 2, "eval_strategy": "no",
        "logging_steps": 1, "logging_nan_inf_filter": False, "report_to": "none",
        "disable_tqdm": True, "bf16": False, "fp16": False, "dataloader_pin_memory": False,
        "optim": "adamw_torch",
    }  # fmt: skip


def sft_trainer(
    model: Any,
    tokenizer: Any,
    rows: list[dict[str, Any]],
    *,
    callback: Any,
    arguments: dict[str, Any],
) -> Any:
    """An SFTTrainer over ready-made `input_ids` and `labels`.

    Rows are tokenized by us, so that training and evaluation see the same prompt; TRL is told to
    leave them alone.

    Args:
        model: model or PEFT model to train.
        tokenizer: its tokenizer.
        rows: see `methods.sft.rows`.
        callback: the `HoldfastCallback` of the run.
        arguments: `shared_arguments`.
    """
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(
        packing=False, max_length=None, dataset_kwargs={"skip_prepare_dataset": True}, **arguments
    )
    return made(SFTTrainer, model, tokenizer, rows, config, callback)


def made(
    kind: Any, model: Any, tokenizer: Any, rows: list[dict[str, Any]], config: Any, callback: Any,
    **more: Any,
) -> Any:  # fmt: skip
    """The trainer, quiet, without TRL's reference adapter, and with float32 adapter weights.

    TRL puts a second adapter beside ours as its reference. A resumed run would load that one and
    lose ours; and made like a PiSSA or OLoRA adapter, it would take its factors out of the base a
    second time. TRL also rounds the adapters of quantised models to bfloat16.
    """
    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback

    adapter = getattr(model, "peft_config", {}).get("default")
    start = getattr(adapter, "init_lora_weights", None)
    if adapter is not None:
        adapter.init_lora_weights = True
    built = kind(
        model=model, args=config, train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer, callbacks=[callback], **more,
    )  # fmt: skip
    built.remove_callback(PrinterCallback)
    if adapter is not None:
        if "ref" in model.peft_config:
            model.delete_adapter("ref")
            model.set_adapter("default")
        adapter.init_lora_weights = start
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return built


def seed_everything(seed: int) -> None:
    """Seed every global stream, so that fresh adapter weights depend on `seed` alone."""
    from transformers import set_seed

    set_seed(seed)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, no log lines below errors, no telemetry, for the block."""
    import datasets
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    dataset_bars = datasets.is_progress_bar_enabled()
    telemetry = os.environ.get("HF_HUB_DISABLE_TELEMETRY")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        with _no_telemetry(), warnings.catch_warnings():
            # TRL 1.16 still sets the old name of transformers' activation checkpointing.
            warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
        if dataset_bars:
            datasets.enable_progress_bars()
        if telemetry is None:
            del os.environ["HF_HUB_DISABLE_TELEMETRY"]
        else:
            os.environ["HF_HUB_DISABLE_TELEMETRY"] = telemetry


@contextlib.contextmanager
def _no_telemetry() -> Iterator[None]:
    """The hub library reads the environment once, at import; set what it read."""
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = before
