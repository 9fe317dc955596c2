"""Protections that change the residual stream while the task is learnt, and only then."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from holdfast.core.errors import UsageError
from holdfast.models.architecture import decoder_layers, layer_output
from holdfast.tuning.protections.base import Protection
from holdfast.tuning.protections.rules import Setting


class StreamProtection(Protection):
    """Changes the output of some decoder blocks between step begin and the optimizer's step.

    Outside of that the hooks do nothing: the monitor, a replay and every evaluation see the model
    as it will be used. They are registered before the first compiled call.
    """

    phase = "forward"

    def __init__(self, arrays: Mapping[int, Tensor]) -> None:
        if not arrays:
            raise UsageError(f"protection {self.name} has no layer to act on")
        self.arrays = {layer: array.detach().float() for layer, array in arrays.items()}
        self._handles: list[Any] = []
        self._armed = False
        self._fired: set[int] = set()

    @abstractmethod
    def change(self, x: Tensor, array: Tensor) -> Tensor:
        """The stream x [batch, position, d_model] as training shall see it."""

    def attach(self, model: Any, setting: Setting) -> None:
        """Hook the blocks."""
        blocks = decoder_layers(model)
        for layer, array in self.arrays.items():
            if not 0 <= layer < len(blocks):
                raise UsageError(
                    f"protection {self.name} names layer {layer}",
                    expected=f"0 to {len(blocks) - 1}",
                )
            self._handles.append(blocks[layer].register_forward_hook(self._hook(layer, array)))

    def act(self, model: Any, step: int) -> float:
        """The forward passes from here on are the task's."""
        self._armed = True
        self._fired.clear()
        return 0.0

    def before_step(self, model: Any, step: int) -> bool:
        """Whether every block was reached."""
        self._armed = False
        return self._fired == set(self.arrays)

    def detach(self, model: Any) -> None:
        """Remove the hooks."""
        while self._handles:
            self._handles.pop().remove()

    def _hook(self, layer: int, array: Tensor) -> Callable[..., Any]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            if not self._armed:
                return output
            self._fired.add(layer)
            stream = layer_output(output)
            changed = self.change(stream, array.to(stream.device, stream.dtype))
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return hook
