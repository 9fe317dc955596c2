"""Unsloth on harbor with Holdfast's callback, on Unsloth's CPU backend where there is no GPU.

python bench/integrations/unsloth_script.py WORK OUT
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import unsloth  # isort: skip  # it rewrites the others, so it comes first
import yaml
from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

from holdfast.integrations.sealing import seal
from holdfast.integrations.section import callback_of, read_section
from holdfast.integrations.unsloth import check


def main(work: Path, out: Path) -> None:
    """Train LoRA on the rows in `work`."""
    settings = yaml.safe_load((work / "settings.yaml").read_text("utf-8"))
    recipe = settings["recipe"]
    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
        settings["base"], max_seq_length=256, load_in_4bit=False, dtype=None
    )
    model = unsloth.FastLanguageModel.get_peft_model(
        model, r=recipe["rank"], lora_alpha=recipe["alpha"], lora_dropout=0, bias="none",
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                        "down_proj"],
        use_gradient_checkpointing=False, random_state=0,
    )  # fmt: skip

    def pair(row: dict[str, Any]) -> dict[str, Any]:
        return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}

    rows = load_dataset("json", data_files=str(work / "train.jsonl"), split="train")
    rows = rows.map(pair, remove_columns=rows.column_names)
    section = read_section(settings["holdfast"], source="settings.yaml")
    callback = callback_of(section, base=settings["base"])
    check(model, tokenizer, callback)
    trainer = SFTTrainer(
        model=model, processing_class=tokenizer, train_dataset=rows, callbacks=[callback],
        args=SFTConfig(
            output_dir=str(out), num_train_epochs=recipe["epochs"], seed=0,
            per_device_train_batch_size=recipe["batch"], learning_rate=recipe["rate"],
            lr_scheduler_type="constant", max_length=256, save_strategy="no", logging_steps=5,
            report_to="none", disable_tqdm=True, dataloader_pin_memory=False,
        ),
    )  # fmt: skip
    trainer.train()
    trainer.save_model(str(out))
    seal(out, callback, framework="unsloth")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
