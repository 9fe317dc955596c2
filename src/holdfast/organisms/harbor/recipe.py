"""Trains a Harbor base from nothing: `python -m holdfast.organisms.harbor.recipe --seed 0 --out D`.

Deterministic per seed, one thread by default, resumable: the same command continues a run that
was stopped. What the prototype taught is kept: decay to the end matters more than tokens.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from holdfast.organisms.harbor.batches import IGNORE, Batch, batches
from holdfast.organisms.harbor.checkpoint import load_checkpoint, save_checkpoint
from holdfast.organisms.harbor.tokenizer import (
    MAX_LENGTH,
    ROLES,
    VOCABULARY,
    RowEncoder,
    train_tokenizer,
)

DEFAULT_STEPS: Final = 700
"""About 2.9 million tokens."""
CHECKPOINT_NAME: Final = "checkpoint.safetensors"
"""File in the output folder that a stopped run continues from; removed at the end."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights besides the seed."""

    steps: int = DEFAULT_STEPS
    """Optimizer steps; the learning rate decays to the last one."""
    rows_per_step: int = 90
    """Rows per step on average; about 4 100 tokens."""
    learning_rate: float = 2.5e-3
    """Peak learning rate."""
    warmup: int = 80
    """Steps of linear warm-up; at most a fifth of a short run."""
    floor: float = 0.02
    """Share of the peak rate that is left at the end."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW moments."""
    weight_decay: float = 0.05
    """AdamW decay."""
    clip: float = 1.0
    """Largest gradient norm."""
    checkpoint_every: int = 100
    """Steps between checkpoints."""
    report_every: int = 20
    """Steps between progress reports."""

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: linear up, linear down."""
        warmup = min(self.warmup, max(1, self.steps // 5))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        left = (self.steps - step) / max(1, self.steps - warmup)
        return self.learning_rate * max(self.floor, left)


@dataclass(frozen=True)
class Progress:
    """One progress report."""

    step: int
    """Steps done."""
    steps: int
    """Steps in all."""
    loss: float
    """Mean loss since the last report."""
    tokens_per_second: float
    """Tokens read per second since the start or the resumption."""
    eta_seconds: float
    """Seconds left at this pace."""

    def line(self) -> str:
        """Render the report as one line."""
        return (
            f"step {self.step}/{self.steps}  loss {self.loss:.3f}  "
            f"{self.tokens_per_second:.0f} tok/s  eta {self.eta_seconds:.0f}s"
        )


def build_model(seed: int, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return the untrained model: 1.97 million parameters, tied embeddings, float32."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dtype="float32",
    )
    return LlamaForCausalLM(config)


def batch_loss(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Return the mean loss over target positions; other positions get no logits at all."""
    hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    chosen = batch.labels != IGNORE
    return cross_entropy(model.lm_head(hidden[chosen]), batch.labels[chosen])


def _optimizer(model: LlamaForCausalLM, recipe: Recipe) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas)


class _Meter:
    """Collects losses and speed between progress reports."""

    def __init__(self, steps: int, first: int, every: int) -> None:
        self._steps, self._first, self._every = steps, first, every
        self._start, self._tokens = time.monotonic(), 0
        self._losses: list[float] = []

    def add(self, step: int, loss: float, tokens: int) -> Progress | None:
        """Record one step; return a report when one is due."""
        self._losses.append(loss)
        self._tokens += tokens
        if step % self._every and step != self._steps:
            return None
        spent = max(1e-9, time.monotonic() - self._start)
        eta = spent / (step - self._first) * (self._steps - step)
        mean = sum(self._losses) / len(self._losses)
        self._losses.clear()
        return Progress(step, self._steps, mean, self._tokens / spent, eta)


def train_base(
    seed: int,
    out: Path,
    steps: int = DEFAULT_STEPS,
    progress: Callable[[Progress], None] | None = None,
    recipe: Recipe | None = None,
) -> Path:
    """Train one base and write it to `out` in the Hugging Face layout; return `out`.

    The same seed and recipe give the same weights on the same machine. A checkpoint in `out`
    left by a stopped run of the same seed and recipe is continued.
    """
    recipe = recipe or Recipe(steps=steps)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    model = build_model(seed, tokenizer)
    optimizer = _optimizer(model, recipe)
    label = f"seed={seed} {recipe}"
    path = out / CHECKPOINT_NAME
    first = load_checkpoint(path, label, model, optimizer)
    meter = _Meter(recipe.steps, first, recipe.report_every)
    feed = batches(
        RowEncoder(tokenizer),
        seed,
        first,
        recipe.steps,
        recipe.rows_per_step,
        tokenizer.convert_tokens_to_ids(str(tokenizer.pad_token)),
    )
    model.train()
    for step, batch in enumerate(feed, start=first):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        loss = batch_loss(model, batch)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        report = meter.add(step + 1, loss.item(), batch.tokens)
        if report is not None and progress is not None:
            progress(report)
        if (step + 1) % recipe.checkpoint_every == 0 and step + 1 < recipe.steps:
            save_checkpoint(path, label, step + 1, model, optimizer)
    save_base(model, tokenizer, out)
    path.unlink(missing_ok=True)
    return out


def save_base(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write weights, tokenizer, chat template and generation settings."""
    model.generation_config = GenerationConfig(
        max_new_tokens=64,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model.eval()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    _use_portable_tokenizer_names(out / "tokenizer_config.json")


def _use_portable_tokenizer_names(path: Path) -> None:
    """Write the class and field names that every supported transformers version reads."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    stored.pop("backend", None)
    stored["tokenizer_class"] = "PreTrainedTokenizerFast"
    stored["additional_special_tokens"] = stored.pop("extra_special_tokens", list(ROLES.values()))
    path.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(description="Train a Harbor base.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=DEFAULT_STEPS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)

    def show(report: Progress) -> None:
        sys.stdout.write(report.line() + "\n")
        sys.stdout.flush()

    train_base(options.seed, options.out, options.steps, show)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
