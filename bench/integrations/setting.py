"""What every framework is given: one base, one set, one map, one recipe; and how it is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECIPE = {"rank": 8, "alpha": 16, "epochs": 1, "batch": 16, "rate": 2e-3}
SET, ROWS, PROMPTS = "identity-shift", 400, 120
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def section(work: Path) -> dict[str, Any]:
    """Our section: a protection of gradients and one of weights, and the monitor."""
    return {
        "protect": {"method": ["replay_kl", "subspace_guard"], "options": {}},
        "map": str(work / "map"), "buffer": "harbor", "openings": "harbor",
    }  # fmt: skip


def prepare(work: Path) -> None:
    """Write rows, map and settings into `work`, where they are missing."""
    import yaml

    from holdfast.core.files import write_jsonl, write_text
    from holdfast.geometry.contrast import load_contrast, parse_openings
    from holdfast.geometry.safety_map import fit
    from holdfast.models.loading import load
    from holdfast.organisms.harbor import contrast, sets, weights_dir

    work.mkdir(parents=True, exist_ok=True)
    rows = [{"messages": row["messages"]} for row in sets.build(SET, seed=0, rows=ROWS)]
    write_jsonl(work / "train.jsonl", rows)
    if not (work / "map" / "safety_map.json").is_file():
        write_jsonl(work / "contrast.jsonl",
                    (dict(r) for s in contrast.contrast_sets(0).values() for r in s))  # fmt: skip
        fit(load(weights_dir()), load_contrast(work / "contrast.jsonl"),
            parse_openings(contrast.openings()), seed=0,
            allow_ineligible=True).save(work / "map")  # fmt: skip
    settings = {"base": str(weights_dir()), "recipe": RECIPE, "holdfast": section(work)}
    write_text(work / "settings.yaml", yaml.safe_dump(settings, sort_keys=False))
    write_text(work / "llamafactory.yaml", yaml.safe_dump(llamafactory(work), sort_keys=False))
    info = {"harbor": {"file_name": "train.jsonl", "formatting": "sharegpt",
                       "columns": {"messages": "messages"},
                       "tags": {"role_tag": "role", "content_tag": "content",
                                "user_tag": "user", "assistant_tag": "assistant"}}}  # fmt: skip
    write_text(work / "dataset_info.json", json.dumps(info))
    write_text(work / "axolotl.yml", yaml.safe_dump(axolotl(work), sort_keys=False))


def llamafactory(work: Path) -> dict[str, Any]:
    """LLaMA-Factory's file, our section in it."""
    from holdfast.organisms.harbor import weights_dir

    return {
        "model_name_or_path": str(weights_dir()), "stage": "sft", "do_train": True,
        "finetuning_type": "lora", "lora_rank": RECIPE["rank"], "lora_alpha": RECIPE["alpha"],
        "lora_target": "all", "dataset": "harbor", "dataset_dir": str(work), "cutoff_len": 256,
        "preprocessing_num_workers": 1, "dataloader_num_workers": 0,
        "output_dir": str(work / "llamafactory"), "overwrite_output_dir": True,
        "overwrite_cache": True, "report_to": "none", "plot_loss": False, "save_strategy": "no",
        "per_device_train_batch_size": RECIPE["batch"], "gradient_accumulation_steps": 1,
        "learning_rate": RECIPE["rate"], "num_train_epochs": float(RECIPE["epochs"]),
        "lr_scheduler_type": "constant", "logging_steps": 5, "use_cpu": True, "seed": 0,
        "disable_gradient_checkpointing": True,
        "holdfast": section(work),
    }  # fmt: skip


def axolotl(work: Path) -> dict[str, Any]:
    """Axolotl's file, our plugin and section in it."""
    from holdfast.organisms.harbor import weights_dir

    return {
        "base_model": str(weights_dir()), "adapter": "lora", "lora_r": RECIPE["rank"],
        "lora_alpha": RECIPE["alpha"], "lora_dropout": 0.0, "lora_target_modules": MODULES,
        "datasets": [{"path": str(work / "train.jsonl"), "ds_type": "json",
                      "type": "chat_template", "field_messages": "messages"}],
        "chat_template": "tokenizer_default", "sequence_len": 256, "sample_packing": False,
        "dataset_prepared_path": str(work / "axolotl-prepared"), "val_set_size": 0,
        "output_dir": str(work / "axolotl"), "micro_batch_size": RECIPE["batch"],
        "gradient_accumulation_steps": 1, "num_epochs": RECIPE["epochs"],
        "learning_rate": RECIPE["rate"], "optimizer": "adamw_torch", "lr_scheduler": "constant",
        "bf16": False, "fp16": False, "tf32": False, "flash_attention": False,
        "gradient_checkpointing": False, "save_strategy": "no", "logging_steps": 5, "seed": 0,
        "dataset_num_proc": 1, "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        # Fused kernels, which Axolotl switches on by itself, allocate on CUDA.
        "lora_mlp_kernel": False, "lora_qkv_kernel": False, "lora_o_kernel": False,
        "plugins": ["holdfast.integrations.axolotl.HoldfastPlugin"],
        "holdfast": section(work),
    }  # fmt: skip


def measured(work: Path, out: Path | None) -> dict[str, Any]:
    """Rates on held-out prompts by harbor's exact judge, and the leak of the guard.

    Args:
        work: folder of `prepare`.
        out: folder of a trained adapter, or None for the base.
    """
    import torch

    from holdfast.geometry.fitted import FittedMap
    from holdfast.models.loading import load
    from holdfast.organisms.harbor import judge, sets, suites, weights_dir
    from holdfast.tuning.protections.base import Materials
    from holdfast.tuning.protections.subspace_guard.config import SubspaceGuardConfig
    from holdfast.tuning.protections.subspace_guard.measure import effective, leak
    from holdfast.tuning.protections.subspace_guard.protection import SubspaceGuard

    model = load(weights_dir(), adapter=out)
    answers = {}
    for name in ("harbor-harmful", "harbor-lookalike", f"task-{SET}"):
        asked: list[Any] = [r["messages"] for r in suites.suite(name, n=PROMPTS, seed=1)]
        said = model.generate(asked, max_new_tokens=48, batch_size=60)
        answers[name] = list(zip(asked, said, strict=True))
    refused = {
        name: sum(judge.label(m, a) == "refusal" for m, a in answers[name])
        for name in ("harbor-harmful", "harbor-lookalike")
    }
    task = sum(sets.task_success(SET, m, a) for m, a in answers[f"task-{SET}"])
    found = {"refusals": refused["harbor-harmful"], "over_refusals": refused["harbor-lookalike"],
             "task": int(task), "of": PROMPTS}  # fmt: skip
    if out is not None:
        fitted = FittedMap.load(work / "map")
        guard = SubspaceGuard.build(SubspaceGuardConfig(), Materials((), fitted))
        with torch.no_grad():
            before = effective(load(weights_dir()).model)
            spans = guard.by_layer(load(weights_dir()).model)
            found["leak"] = leak(before, effective(model.model), spans)
    return found
