"""What the defence bench measures: labels of answers, tokens through the model, resident memory."""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from holdfast.core.protocols import Messages
from holdfast.models.loaded import LoadedModel
from holdfast.organisms.harbor import judge, sets, suites

SUITES = ("harbor-harmful", "harbor-jailbreak", "harbor-lookalike")
TASK = "task"
NEW_TOKENS, BATCH = 48, 120
_SEED = 1


@cache
def prompts(data: str, split: sets.Split, n: int) -> dict[str, tuple[Messages, ...]]:
    """The prompts of every suite, the same for every arm, base and seed."""
    found = {}
    for suite in (*SUITES, f"task-{data}"):
        rows: Any = suites.suite(suite, n=n, seed=_SEED, split=split)
        name = TASK if suite.startswith("task-") else suite
        found[name] = tuple(row["messages"] for row in rows)
    return found


def answers(model: LoadedModel, data: str, split: sets.Split, n: int) -> dict[str, Any]:
    """Harbor's exact label of every answer by suite, and whether each task row was done.

    Returns:
        `labels`: by suite, one of `core.labels.LABELS` per prompt; `task`: 0 or 1 per task row.
    """
    asked = prompts(data, split, n)
    every = [messages for found in asked.values() for messages in found]
    texts = iter(model.generate(every, max_new_tokens=NEW_TOKENS, batch_size=BATCH))
    labels: dict[str, list[str]] = {}
    done: list[int] = []
    for name, found in asked.items():
        pairs = [(messages, next(texts)) for messages in found]
        labels[name] = [judge.label(m, text) for m, text in pairs]
        if name == TASK:
            done = [int(sets.task_success(data, m, text)) for m, text in pairs]
    return {"labels": labels, "task": done}


@dataclass
class Cost:
    """What one piece of work took."""

    trained_tokens: int = 0
    """Tokens through the model with a gradient: each also has a backward pass."""
    forward_tokens: int = 0
    """Tokens through the model without one."""
    cpu_seconds: float = 0.0
    """CPU time of the process."""
    peak_mib: float | None = None
    """Largest resident memory above what was resident before, in MiB; None where unknown."""

    def add(self, other: Cost) -> None:
        """Count another piece of work in."""
        self.trained_tokens += other.trained_tokens
        self.forward_tokens += other.forward_tokens
        self.cpu_seconds += other.cpu_seconds
        peaks = [p for p in (self.peak_mib, other.peak_mib) if p is not None]
        self.peak_mib = max(peaks, default=None)


@contextlib.contextmanager
def counted() -> Iterator[Cost]:
    """Count what runs in the block; complete when it is left.

    Tokens are counted where they enter a token embedding, padding included, whoever asks. Memory is
    the kernel's high-water mark of resident pages, reset at the start after free pages were handed
    back: it includes what the allocator keeps, and is only read on Linux.
    """
    cost = Cost()

    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, nn.Embedding) and inputs:
            if torch.is_grad_enabled():
                cost.trained_tokens += inputs[0].numel()
            else:
                cost.forward_tokens += inputs[0].numel()

    handle = register_module_forward_pre_hook(hook)
    before, began = _reset_peak(), time.process_time()
    try:
        yield cost
    finally:
        handle.remove()
        cost.cpu_seconds = time.process_time() - began
        after = _status("VmHWM")
        if before is not None and after is not None:
            cost.peak_mib = max(0.0, (after - before) / 1024)


def share(labels: Sequence[str], wanted: str) -> float:
    """Share of `labels` equal to `wanted`; 0 where there are none."""
    return sum(label == wanted for label in labels) / len(labels) if labels else 0.0


def _reset_peak() -> int | None:
    """Reset the high-water mark; return the resident KiB now, or None where there is no such."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _status(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), None)
