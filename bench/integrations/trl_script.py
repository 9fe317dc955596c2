"""A plain TRL script, as a user has it, with Holdfast's callback: three lines are ours.

    python bench/integrations/trl_script.py WORK OUT [--unguarded]
    accelerate launch --multi_gpu --num_processes 2 bench/integrations/trl_script.py WORK OUT

Runs under transformers 4.55 and TRL 0.22 as well as under 5.23 and 1.16.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from holdfast.integrations.sealing import seal
from holdfast.integrations.section import callback_of, read_section


def pair(row: dict[str, Any]) -> dict[str, Any]:
    """A conversation as TRL's prompt and completion."""
    return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}


def main(work: Path, out: Path, guarded: bool) -> None:
    """Train LoRA on the rows in `work`."""
    settings = yaml.safe_load((work / "settings.yaml").read_text("utf-8"))
    base, recipe = settings["base"], settings["recipe"]
    rows = load_dataset("json", data_files=str(work / "train.jsonl"), split="train")
    rows = rows.map(pair, remove_columns=rows.column_names)
    section = read_section(settings["holdfast"], source="settings.yaml")
    callback = callback_of(section, base=base)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(base),
        processing_class=AutoTokenizer.from_pretrained(base),
        train_dataset=rows,
        peft_config=LoraConfig(
            r=recipe["rank"], lora_alpha=recipe["alpha"], target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        callbacks=[callback] if guarded else [],
        args=SFTConfig(
            output_dir=str(out), num_train_epochs=recipe["epochs"], seed=0,
            per_device_train_batch_size=recipe["batch"], learning_rate=recipe["rate"],
            lr_scheduler_type="constant", max_length=256, use_cpu=True, bf16=False,
            save_strategy="no", logging_steps=5, report_to="none",
            disable_tqdm=True, dataloader_pin_memory=False, gradient_checkpointing=False,
        ),
    )  # fmt: skip
    trainer.train()
    trainer.save_model(str(out))
    if guarded:
        seal(out, callback, framework="trl")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "--unguarded" not in sys.argv)
