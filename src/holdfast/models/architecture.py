"""Where things are in a decoder-only transformer, whatever its authors called them."""

from __future__ import annotations

from collections import deque
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from holdfast.core.errors import UsageError

# Modules whose output is added to the residual stream, most specific first. Gemma-2, OLMo-2 and
# GLM-4 normalise a branch before they add it, so there the norm is what writes.
_BRANCHES = (
    ("post_attention_layernorm", "post_feedforward_layernorm"),
    ("post_self_attn_layernorm", "post_mlp_layernorm"),
    ("self_attn", "mlp"),
    ("self_attn", "block_sparse_moe"),
    ("attn", "mlp"),
    ("attention", "mlp"),
    ("self_attention", "mlp"),
)
# Last matrices of a branch: Llama family, GPT-2, GPT-NeoX, Falcon, OPT and Phi-2.
_WRITERS = frozenset(
    {"o_proj", "down_proj", "c_proj", "dense", "dense_4h_to_h", "out_proj", "fc2", "w2", "wo"}
)


def unwrap(model: nn.Module) -> nn.Module:
    """The bare `PreTrainedModel` under PEFT, DDP and `torch.compile` wrappers."""
    while True:
        if isinstance(model, (DistributedDataParallel, DataParallel)):
            model = model.module
        elif "_orig_mod" in model._modules:
            model = cast(nn.Module, model._modules["_orig_mod"])
        elif hasattr(type(model), "get_base_model"):
            model = cast(Any, model).get_base_model()
        else:
            return model


def text_config(model: nn.Module) -> Any:
    """The configuration of the text decoder (a multimodal model nests it)."""
    config = cast(Any, unwrap(model)).config
    return config.get_text_config()


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The decoder blocks in order: the shallowest `ModuleList` as long as the configuration says.

    Raises:
        UsageError: the model has no such list, so nothing can be measured in it.
    """
    bare = unwrap(model)
    expected = int(text_config(bare).num_hidden_layers)
    queue: deque[nn.Module] = deque([bare])
    while queue:
        module = queue.popleft()
        if isinstance(module, nn.ModuleList) and len(module) == expected:
            return module
        queue.extend(module.children())
    raise UsageError(
        f"{type(bare).__name__} has no list of {expected} decoder blocks",
        expected="a decoder-only language model",
    )


def branch_outputs(layer: nn.Module) -> list[nn.Module]:
    """The modules of a block whose outputs are added to the residual stream: attention, then MLP.

    Empty where the names are unknown; callers then work on block inputs and outputs alone.
    """
    children = dict(layer.named_children())
    for names in _BRANCHES:
        # A Llama block has a post_attention_layernorm too; only both norms together are a pair.
        if all(name in children for name in names):
            return [children[name] for name in names]
    return []


def residual_writers(model: nn.Module) -> list[tuple[str, int, nn.Module]]:
    """Every matrix that writes to the residual stream, as (name, layer index, module).

    Names are relative to the bare model, such as `model.layers.3.mlp.down_proj`; under PEFT the
    module is the adapted layer. Read its matrix with `writer_weight`.

    Raises:
        UsageError: a block has no known writer.
    """
    bare = unwrap(model)
    names = {id(module): name for name, module in bare.named_modules()}
    found: list[tuple[str, int, nn.Module]] = []
    for index, layer in enumerate(decoder_layers(bare)):
        own = [m for path, m in layer.named_modules() if path.rpartition(".")[2] in _WRITERS]
        if not own:
            raise UsageError(
                f"block {index} of {type(bare).__name__} has no known output projection",
                expected="one of " + ", ".join(sorted(_WRITERS)),
            )
        found.extend((names[id(module)], index, module) for module in own)
    return found


def writer_weight(module: nn.Module) -> Tensor:
    """Effective matrix of a residual writer, float32, shape [d_model, d_in], adapters included.

    Raises:
        UsageError: the adapter (DoRA) has no additive delta; merge it first.
    """
    adapted = cast(Any, module)
    base = adapted.base_layer if hasattr(module, "base_layer") else module
    weight = cast(Tensor, base.weight).detach().float()
    if base is not module and not adapted.merged and not adapted.disable_adapters:
        for adapter in adapted.active_adapters:
            if adapted.use_dora.get(adapter, False):
                raise UsageError(
                    "a DoRA adapter rescales the base matrix",
                    next_step="merge it into the base and measure the merged model",
                )
            weight = weight + adapted.get_delta_weight(adapter).detach().float()
    # GPT-2's Conv1D stores [d_in, d_out]; every Linear stores [d_out, d_in].
    return weight.T if type(base).__name__ == "Conv1D" else weight


def layer_output(output: Tensor | tuple[Any, ...]) -> Tensor:
    """The residual stream [batch, position, d_model] in what a block returned.

    Raises:
        UsageError: the block carries several residual streams, which no site here describes.
    """
    tensor = output[0] if isinstance(output, tuple) else output
    if not isinstance(tensor, torch.Tensor) or tensor.ndim != 3:
        raise UsageError(
            "a decoder block did not return one residual stream",
            got=f"shape {list(tensor.shape)}" if isinstance(tensor, torch.Tensor) else "no tensor",
            expected="[batch, position, d_model]",
        )
    return tensor


def with_gradients(model: nn.Module) -> None:
    """Keep 4-bit layers on kernels that have a gradient, in evaluation too.

    On CPUs with AVX512-BF16, bitsandbytes 0.50 repacks a layer's weights on its first evaluation
    for a kernel without a backward pass, and stays on it in training: after one evaluation, the
    gradients of a QLoRA adapter were 98 % wrong (relative norm), with no more than a warning.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            cast(Any, module).support_avx512bf16_for_cpu = False
