"""What a protection costs in memory, communication and time: closed forms, no torch.

Checked against the real objects by `tests/unit/tuning/test_protection_costs.py` (bytes, exactly)
and by `bench/scale.py --check` (time, and collectives between processes). Bytes are of one device.
A pass over t tokens is counted as 2Nt floating-point operations forward and 4Nt backward, 2Nt where
only an adapter is trained; attention over long contexts is left out of both sides of a ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

F32, F64, I64 = 4, 8, 8
Tuner = Literal["full", "lora"]


@dataclass(frozen=True)
class Shape:
    """A Llama-like model."""

    layers: int
    width: int
    """d, of the residual stream."""
    inner: int
    """Width of the MLP."""
    heads: int
    """Query heads × head size: columns of o_proj."""
    keys: int
    """Key heads × head size."""
    vocab: int
    tied: bool = False
    """Whether input and output embedding are one matrix."""

    @property
    def linear(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of the linear matrices of one block."""
        d, m = self.width, self.inner
        return ((self.heads, d), (self.keys, d), (self.keys, d), (d, self.heads),
                (m, d), (m, d), (d, m))  # fmt: skip

    @property
    def writers(self) -> tuple[int, ...]:
        """Columns d_in of the matrices of one block that write to the residual stream."""
        return (self.heads, self.inner)

    @property
    def parameters(self) -> int:
        """N, norms included."""
        block = sum(a * b for a, b in self.linear) + 2 * self.width
        embeddings = (1 if self.tied else 2) * self.vocab * self.width
        return self.layers * block + embeddings + self.width


@dataclass(frozen=True)
class Training:
    """What is trained, on how much, by how many devices."""

    shape: Shape
    tuner: Tuner
    rows: int
    """Rows of one update on one device."""
    length: int
    """Tokens of a row."""
    devices: int = 1
    rank: int = 16
    """Rank of the adapter, on all linear matrices."""

    @property
    def trained(self) -> int:
        """P: numbers that are trained."""
        if self.tuner == "full":
            return self.shape.parameters
        return self.shape.layers * sum(self.rank * (a + b) for a, b in self.shape.linear)

    @property
    def flops(self) -> float:
        """Of one update on one device."""
        return passes(self) * self.shape.parameters * self.rows * self.length


@dataclass(frozen=True)
class Cost:
    """What a protection adds on one device."""

    resident: float = 0.0
    """Bytes held during the whole run, where nothing is sharded."""
    sharded: float = 0.0
    """Bytes held that divide by the devices when parameters are sharded."""
    transient: float = 0.0
    """Bytes at the peak of its own work, beyond those."""
    flops: float = 0.0
    """Added to one update, on average."""
    traffic: float = 0.0
    """Bytes that one device sends for one update, beyond what training sends."""
    collectives: float = 0.0
    """Calls between devices for one update, beyond training's."""
    once: float = 0.0
    """Floating-point operations before training."""


def passes(training: Training) -> int:
    """Operations per parameter and token of a forward and backward pass."""
    return 6 if training.tuner == "full" else 4


def ring(size: float, devices: int) -> float:
    """Bytes that a device sends in an all-reduce of `size` bytes: 2 (G - 1)/G of them."""
    return 2 * (devices - 1) / devices * size


def cached_positions(vocab: int, *, exact_vocab: int = 4096, top_k: int = 256) -> int:
    """Bytes of one cached distribution: the whole one, or top-k with ids and the mass outside."""
    if vocab <= max(exact_vocab, top_k):
        return F32 * vocab
    return top_k * (F32 + I64) + F32


def replay_kl(
    training: Training, *, prompts: int = 64, prompt: int = 40, answer: int = 24,
    share: float = 0.10, every: int = 2, exact_vocab: int = 4096, top_k: int = 256,
) -> Cost:  # fmt: skip
    """Replay of `share` of the rows, on every n-th update with n times the rows.

    Its gradient is left on the parameters before the task's pass and travels with it.
    """
    size = max(1, round(share * training.rows * every))
    positions = prompts * (answer + 1)
    width = prompt + answer
    held = positions * cached_positions(training.shape.vocab, exact_vocab=exact_vocab, top_k=top_k)
    places = 2 * I64 * positions + 2 * I64 * prompts * width
    logits = 4 * F32 * size * width * training.shape.vocab
    one = passes(training) * training.shape.parameters * size * width
    n = training.shape.parameters
    return Cost(
        resident=held + places, transient=logits, flops=one / every,
        once=2 * n * prompts * (prompt + 2 * answer),
    )  # fmt: skip


def safegrad(training: Training, *, rows: int = 4, prompt: int = 40, answer: int = 24) -> Cost:
    """A second gradient every step, kept whole until the optimizer steps, and reduced like it."""
    extra = passes(training) * training.shape.parameters * rows * (prompt + answer)
    size = F32 * training.trained
    return Cost(
        sharded=size, transient=4 * F32 * rows * (prompt + answer) * training.shape.vocab,
        flops=extra + 8 * training.trained,
        traffic=ring(size, training.devices), collectives=1.0 if training.devices > 1 else 0.0,
    )  # fmt: skip


def subspace_guard(
    training: Training, *, k: int = 8, bases: int | None = None, sharded: bool = False
) -> Cost:
    """Uᵀ W after every step for each writer; of an adapter, Uᵀ B.

    Args:
        training: the run.
        k: dimensions of the protected subspace.
        bases: different bases kept on a device; one for each block unless given.
        sharded: whether parameters are DTensors: then one all-reduce of k × d_in for each writer.
    """
    shape = training.shape
    columns = shape.writers if training.tuner == "full" else (training.rank,) * len(shape.writers)
    anchors = F64 * k * sum(columns) * shape.layers if training.tuner == "full" else 0.0
    per_matrix = [4 * k * shape.width * c for c in columns]
    split = training.devices if sharded else 1
    messages = [F64 * k * c for c in columns]
    return Cost(
        resident=anchors + F64 * k * shape.width * (shape.layers if bases is None else bases),
        transient=3 * F64 * shape.width * max(columns) / split,
        flops=shape.layers * sum(per_matrix) / split,
        traffic=shape.layers * sum(ring(m, training.devices) for m in messages) if sharded else 0.0,
        collectives=float(shape.layers * len(columns)) if sharded else 0.0,
    )


def zero_guard_traffic(training: Training) -> float:
    """Bytes that a device receives for the guard under ZeRO: float32 masters, whole, twice."""
    shape = training.shape
    columns = shape.writers if training.tuner == "full" else (training.rank,) * len(shape.writers)
    whole = F32 * shape.width * sum(columns) * shape.layers
    return 2 * (training.devices - 1) / training.devices * whole


def weight_ema(training: Training) -> Cost:
    """The mean, and from the first checkpoint on a copy of what is trained; both float32."""
    return Cost(sharded=2.0 * F32 * training.trained, flops=3.0 * training.trained)


def constrained(training: Training, *, rows: int, answer: int) -> Cost:
    """Column, log-probability and β of every answer token of the set; one pass before training."""
    tokens = rows * answer
    step = training.rows * answer * training.shape.vocab
    n = training.shape.parameters
    return Cost(
        resident=(I64 + 2 * F32) * tokens, transient=2 * F32 * step, flops=5.0 * step,
        once=2.0 * n * rows * training.length,
    )  # fmt: skip


def stream(training: Training, *, layers: int, k: int) -> Cost:
    """Steering (k = 0: one vector is added) and concept ablation (k directions are removed)."""
    tokens, d = training.rows * training.length, training.shape.width
    work = layers * tokens * d * (2 * 4 * k if k else 1)
    return Cost(
        resident=F32 * layers * d * max(1, k), transient=float(F32 * layers * tokens * d),
        flops=float(work),
    )  # fmt: skip


def monitor_look(
    training: Training, *, probes: int = 24, prompt: int = 40, openings: int = 60, explain: bool
) -> float:
    """Operations of one observation: probe prompts with all openings, and the drifts' prompts."""
    tokens = probes * (prompt + openings + 5) + (2 * probes * prompt if explain else 0)
    return 2.0 * training.shape.parameters * tokens


def monitor_memory(training: Training, *, probes: int = 24, positions: int = 5) -> float:
    """Bytes of the base's distributions on the first positions of its own answers."""
    return float(F32 * probes * positions * training.shape.vocab)
