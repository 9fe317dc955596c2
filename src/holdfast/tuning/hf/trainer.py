"""TRL's SFTTrainer, quiet and with nothing left to its defaults that matters to us."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def sft_trainer(
    model: Any,
    tokenizer: Any,
    rows: list[dict[str, list[int]]],
    *,
    folder: Path,
    callback: Any,
    arguments: dict[str, Any],
) -> Any:
    """An SFTTrainer over ready-made `input_ids` and `labels`, a checkpoint after every epoch.

    Rows are tokenized by us, so that training and evaluation see the same prompt; TRL is told to
    leave them alone. Only the two newest checkpoints are kept: with two, one is always whole.
    """
    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(
        output_dir=str(folder),
        save_strategy="epoch", save_total_limit=2, eval_strategy="no",
        logging_steps=1, logging_nan_inf_filter=False, report_to="none", disable_tqdm=True,
        bf16=False, fp16=False, packing=False, max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_pin_memory=False, optim="adamw_torch",
        **arguments,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=model, args=config, train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer, callbacks=[callback],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer


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
