"""What the callback needs of a model that Unsloth has rewritten, asked before training.

On a GPU, Unsloth replaces forward passes: attention, MLP, norms and LoRA layers compute without
being called as modules, so hooks on them never fire; only decoder blocks and the whole model are
still called. Holdfast's protections and its monitor hook nothing else. Blocks return tuples there,
and its older checkpointing calls each block twice, the first time without gradients. Logits are
left empty in training unless UNSLOTH_RETURN_LOGITS=1. On a CPU it runs plain transformers.

    import unsloth                                            # first
    check(model, tokenizer, callback)                         # before the trainer trains
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch

from holdfast.core.errors import UsageError
from holdfast.models.architecture import decoder_layers, text_config
from holdfast.models.hooks import capture_layers, quiet_eval
from holdfast.tuning.callback import HoldfastCallback

SWITCH = "UNSLOTH_RETURN_LOGITS"
READ_LOGITS = frozenset({"replay_kl", "safegrad", "constrained", "auto"})
"""Protections that read what the model says."""


def check(model: Any, tokenizer: Any, callback: HoldfastCallback) -> None:
    """Refuse a model that would train unguarded or unwatched.

    One short pass without gradients: one with gradients would poison Unsloth's compile cache.

    Args:
        model: as `FastLanguageModel.get_peft_model` returned it, or the bare one.
        tokenizer: its tokenizer.
        callback: the callback of the run.

    Raises:
        UsageError: logits are left out, or a decoder block is not called as a module.
    """
    parts = callback.protection.parts if callback.protection else ()
    reads = sorted({p.name for p in parts} & READ_LOGITS)
    rewritten = getattr(sys.modules.get("unsloth"), "DEVICE_TYPE", "cpu") != "cpu"
    if rewritten and reads and os.environ.get(SWITCH, "0") != "1":
        raise UsageError(
            f"protection {', '.join(reads)} needs logits, which Unsloth leaves out in training",
            next_step=f"set {SWITCH}=1 in the environment before training",
        )
    count = len(decoder_layers(model))
    device = next(model.parameters()).device
    ids = torch.tensor([tokenizer("a b")["input_ids"]], device=device)
    with quiet_eval(model), capture_layers(model, range(count)) as seen:
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    if missing := sorted(set(range(count)) - set(seen)):
        raise UsageError(
            f"decoder block {missing[0]} is not called as a module, so nothing can be read there",
            expected="hooks that fire on every decoder block",
        )
    shape: tuple[int, ...] = tuple(getattr(logits, "shape", ()))
    if len(shape) != 3 or shape[-1] < int(text_config(model).vocab_size):
        raise UsageError(
            "the model returns no logits",
            got=f"shape {list(shape)}",
            next_step=f"set {SWITCH}=1, and leave UNSLOTH_RETURN_HIDDEN_STATES unset",
        )
