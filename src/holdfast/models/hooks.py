"""Reading and changing the residual stream through forward hooks that always come off again.

Sites are `resid_post.L`: the output of decoder block L, counted from 0. Hooks return new tensors
and never write in place. Whatever changes a stream is registered ahead of whatever reads it, so
`capture_layers` sees the changed stream in whichever order the contexts are entered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.models.architecture import branch_outputs, decoder_layers, layer_output, unwrap


@contextlib.contextmanager
def capture_layers(model: nn.Module, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Collect the outputs [batch, position, d_model] of `layers` from the last forward pass.

    The tensors keep their graph when gradients are on. The dictionary is empty until a forward
    pass is done.
    """
    blocks = decoder_layers(model)
    captured: dict[int, Tensor] = {}

    def keep(index: int) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            captured[index] = layer_output(output)

        return hook

    with contextlib.ExitStack() as stack:
        stack.enter_context(_eager(model))
        for index in layers:
            block = blocks[_checked(index, len(blocks))]
            stack.callback(block.register_forward_hook(keep(index)).remove)
        yield captured


class Enough(Exception):
    """Ends a forward pass inside `stop_after`; whoever runs the pass suppresses it."""


@contextlib.contextmanager
def stop_after(model: nn.Module, layer: int) -> Iterator[None]:
    """End every forward pass by `Enough` once block `layer` has been computed.

    For passes that only fill `capture_layers`, which must be entered before: the deeper blocks and
    the vocabulary cost most of a pass and would not be looked at.
    """
    blocks = decoder_layers(model)

    def enough(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        raise Enough

    with _eager(model):
        handle = blocks[_checked(layer, len(blocks))].register_forward_hook(enough)
        try:
            yield
        finally:
            handle.remove()


@contextlib.contextmanager
def ablate(model: nn.Module, r_hat: Tensor) -> Iterator[None]:
    """Remove the direction `r_hat` [d_model] from the residual stream everywhere.

    It is removed from the input of every block (the first one's is the embedding), from what
    attention and MLP add, and from every block's output: directional ablation of arXiv 2406.11717,
    x' = x - r (r . x), equation 4. The projection is computed in float32; `r_hat` is normalised.
    """
    unit = r_hat.detach().float()
    unit = unit / unit.norm()

    def strip(x: Tensor) -> Tensor:
        r = unit.to(x.device)
        wide = x.float()
        stripped: Tensor = wide - (wide @ r).unsqueeze(-1) * r
        return stripped.to(x.dtype)

    def before(_module: nn.Module, args: Any, kwargs: Any) -> Any:
        if args:
            return (strip(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": strip(kwargs["hidden_states"])}

    def after(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        return _with_first(output, strip)

    with contextlib.ExitStack() as stack:
        stack.enter_context(_eager(model))
        for block in decoder_layers(model):
            stack.callback(
                block.register_forward_pre_hook(before, prepend=True, with_kwargs=True).remove
            )
            for module in (*branch_outputs(block), block):
                stack.callback(module.register_forward_hook(after, prepend=True).remove)
        yield


@contextlib.contextmanager
def rewrite(model: nn.Module, layer: int, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace the output x [batch, position, d_model] of block `layer` by `change(x)`."""
    blocks = decoder_layers(model)
    block = blocks[_checked(layer, len(blocks))]

    def after(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        return _with_first(output, change)

    with _eager(model):
        handle = block.register_forward_hook(after, prepend=True)
        try:
            yield
        finally:
            handle.remove()


@contextlib.contextmanager
def add_vector(model: nn.Module, layer: int, vector: Tensor) -> Iterator[None]:
    """Add `vector` [d_model] to the output of block `layer` at every position."""
    shift = vector.detach()
    with rewrite(model, layer, lambda x: x + shift.to(x.device, x.dtype)):
        yield


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode (dropout off), each flag put back after the block.

    Gradients stay as they are. Only flags that must change are touched: `model.eval()` visits the
    whole tree again, which beside a small batch is seen.
    """
    modules = [module for module in model.modules() if module.training]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module in modules:
            module.training = True


@contextlib.contextmanager
def quiet_eval(model: nn.Module) -> Iterator[None]:
    """Look at a model, even in the middle of training, without leaving a trace.

    Evaluation mode and no gradients inside; afterwards the training flag of every module (parts may
    be frozen in evaluation mode) and the random states of CPU and CUDA are as before.
    """
    cpu = torch.get_rng_state()
    on_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if on_cuda else None
    try:
        with evaluating(model), torch.no_grad(), _eager(model):
            yield
    finally:
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextlib.contextmanager
def _eager(model: nn.Module) -> Iterator[None]:
    """Suspend `torch.compile`: a hook added after the first compiled call is silently ignored."""
    compiled = unwrap(model) is not model and "_orig_mod" in model._modules
    if compiled or any(m._compiled_call_impl is not None for m in model.modules()):
        with torch.compiler.set_stance("force_eager"):
            yield
    else:  # importing the compiler costs seconds, so it is not touched without need
        yield


def _with_first(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`output` with its residual stream changed, whether a tensor or the first of a tuple."""
    changed = change(layer_output(output))
    return (changed, *output[1:]) if isinstance(output, tuple) else changed


def _checked(index: int, count: int) -> int:
    if not 0 <= index < count:
        raise UsageError(f"layer {index} does not exist", expected=f"0 to {count - 1}")
    return index
