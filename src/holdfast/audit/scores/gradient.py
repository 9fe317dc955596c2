"""Gradient alignment: would a step on this row raise the loss of the model's refusals?

To first order, a step of gradient descent on a row changes the loss of refusals by minus the
product of the two gradients, so the score is -cos(gradient of the row, gradient of the refusal
loss); compare gradient matching (arXiv 2404.01099), which takes harmful anchors.

The loss of refusals is minus the refusal margin: log p(start of compliance) - log p(start of
refusal). The refusal's likelihood alone will not do: a model that refuses for certain has no
gradient left there but that of its wording, and on harbor such a score ranks harmful rows last
(docs/results/audit.md).

The gradient of the weight of a linear layer is the sum over positions of (gradient of its output)
x (its input), which is why it can be projected from both sides before it is ever formed (LoGra,
arXiv 2405.13954, section 3): one backward pass gives all rows of a batch, and memory is n times the
sketch.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from holdfast.audit.scores.pairs import Tokens
from holdfast.audit.scores.scored import Scored, held_out, quantile
from holdfast.core.protocols import Progress, no_progress
from holdfast.core.seeds import derive
from holdfast.models.architecture import residual_writers
from holdfast.models.batching import Batch, by_length, forward, left_pad
from holdfast.models.hooks import quiet_eval
from holdfast.models.loaded import LoadedModel

WIDTH = 8192
"""Numbers kept of a row's gradient, over all matrices; a cosine is then known to about 0.01."""
DRAWS = 64
"""Random gradients in the null."""


def gradient_sketches(
    loaded: LoadedModel,
    rows: Sequence[Tokens],
    *,
    seed: int,
    batch_size: int = 16,
    progress: Progress = no_progress,
) -> Tensor:
    """Sketched gradient of every row's mean answer loss, [n, K] float32 on the CPU, K <= `WIDTH`.

    Of the matrices that write to the residual stream, projected by seeded Gaussian matrices from
    both sides, so that products of sketches estimate products of gradients. The model is left as
    it was, its gradients included.
    """
    with quiet_eval(loaded.model), _only_activations(loaded.model), torch.enable_grad():
        sketch = _Sketch(loaded, seed)
        out = torch.empty(len(rows), sketch.width)
        done = 0
        for group in by_length([len(r.prompt) + len(r.answer) for r in rows], batch_size):
            out[group] = sketch.of([rows[i] for i in group])
            done += len(group)
            progress("gradients of the rows", done, len(rows))
    return out


def refusal_loss(refusals: Tensor, compliances: Tensor) -> Tensor:
    """Unit gradient [K] of the loss of refusals, from sketches [r, K] of starts of both kinds."""
    return _unit(refusals.double().mean(0, keepdim=True) - compliances.double().mean(0))[0]


def gradient(rows: Tensor, target: Tensor, unsafe: Tensor, safe: Tensor, *, seed: int) -> Scored:
    """Score sketches [n, K] by -cos with `target` [K]; anchors [u, K] and [s, K].

    The requests behind `target` are no anchor's, so the anchors are held out of it. Null: sums of
    the anchors' own gradients under random signs, `DRAWS` of them: random gradients with the
    covariance that gradients have here (norms do not matter to a cosine).
    """
    high, low = (-(_unit(side) @ target) for side in (unsafe, safe))
    mean_safe, mean_unsafe, area = held_out(high, low)
    anchors = _unit(torch.cat([unsafe, safe]))
    stream = torch.Generator().manual_seed(seed + 3)
    signs = torch.randint(0, 2, (DRAWS, len(anchors)), generator=stream).double() * 2 - 1
    random = _unit(signs @ anchors)
    units = _unit(rows)
    return Scored(
        "gradient", -(units @ target), mean_safe, mean_unsafe, area, quantile(units @ random.T),
        f"anchors' gradients under random signs, {DRAWS} draws",
    )  # fmt: skip


def _unit(vectors: Tensor) -> Tensor:
    return normalize(vectors.double(), dim=1)


@contextlib.contextmanager
def _only_activations(model: nn.Module) -> Iterator[None]:
    """Let gradients flow through activations and form none of parameters."""
    flags = [(p, p.requires_grad) for p in model.parameters()]
    inputs = model.get_input_embeddings()  # type: ignore[operator]  # torch types attributes as Tensor | Module

    def start(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output.detach().requires_grad_()

    handle = inputs.register_forward_hook(start)
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        handle.remove()
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


class _Sketch:
    """Projected gradients of one batch of rows at a time."""

    def __init__(self, loaded: LoadedModel, seed: int) -> None:
        self._loaded = loaded
        self._modules = residual_writers(loaded.model)
        self._size = max(2, math.isqrt(WIDTH // len(self._modules)))
        self._seed = seed
        self._sides: dict[tuple[int, int], Tensor] = {}
        self.width = self._size**2 * len(self._modules)

    def of(self, rows: Sequence[Tokens]) -> Tensor:
        """[batch, width] for rows of one batch."""
        loaded = self._loaded
        batch = left_pad([r.prompt + r.answer for r in rows], loaded.pad_token, loaded.device)
        pieces: list[Tensor | None] = [None] * len(self._modules)
        with contextlib.ExitStack() as stack:
            for place, (_, _, module) in enumerate(self._modules):
                stack.callback(module.register_forward_hook(self._hook(place, pieces)).remove)
            loss = self._loss(batch, rows)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        empty = torch.zeros(len(rows), self._size**2)
        return torch.cat([empty if p is None else p.cpu() for p in pieces], 1)

    def _loss(self, batch: Batch, rows: Sequence[Tokens]) -> Tensor:
        """Sum over rows of the mean negative log-probability of an answer token."""
        keep = max(len(row.answer) for row in rows) + 1
        logits = forward(self._loaded.model, batch, keep=keep).logits[:, :-1]
        total = torch.zeros((), device=logits.device)
        for row, at in zip(rows, logits, strict=True):
            wanted = torch.tensor(row.answer, device=logits.device)
            total = total + nn.functional.cross_entropy(at[-len(row.answer) :].float(), wanted)
        return total

    def _hook(self, place: int, pieces: list[Tensor | None]) -> Any:
        def see(_module: nn.Module, inputs: Any, output: Tensor) -> None:
            read = inputs[0].detach().float()
            narrow = read @ self._side(place, 0, read.shape[-1], read.device)

            def back(grad: Tensor) -> None:
                wide = grad.detach().float()
                written = wide @ self._side(place, 1, wide.shape[-1], wide.device)
                pieces[place] = torch.einsum("bti,btj->bij", written, narrow).flatten(1)

            output.register_hook(back)  # type: ignore[no-untyped-call]  # torch leaves it untyped

        return see

    def _side(self, place: int, side: int, width: int, device: torch.device) -> Tensor:
        """Gaussian [width, size] with unit expected row norm, the same for the same seed."""
        key = (place, side)
        if key not in self._sides:
            stream = torch.Generator().manual_seed(derive(self._seed, "sketch", place, side))
            matrix = torch.randn(width, self._size, generator=stream) / math.sqrt(self._size)
            self._sides[key] = matrix.to(device)
        return self._sides[key]
