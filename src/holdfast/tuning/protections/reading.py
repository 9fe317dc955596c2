"""What a Trainer and its model say about the run that a protection is asked to guard."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.distributed.tensor import DTensor

from holdfast.tuning.protections.rules import Setting

_METHODS = {
    "SFTConfig": "sft", "DPOConfig": "dpo", "RewardConfig": "reward", "GRPOConfig": "rlhf",
    "RLOOConfig": "rlhf", "KTOConfig": "dpo",
}  # fmt: skip


def read_setting(args: Any, model: nn.Module, *, on_alarm: str = "log") -> Setting:
    """The setting of a run, from training arguments and the model as it is trained.

    A trainer that is not known counts as supervised fine-tuning: a loss over `logits` or
    `log_probs` is all that its protections then ask for, and they notice when it is missing.
    """
    config = _adapter(model)
    names = [cls.__name__ for cls in type(args).__mro__]
    return Setting(
        method=next((_METHODS[name] for name in names if name in _METHODS), "sft"),
        tuner=_tuner(model, config),
        init=_init(config),
        on_alarm=on_alarm,
        backend=backend_of(args, model),
        precision="float16" if args.fp16 else "float32",
    )


def backend_of(args: Any, model: nn.Module) -> str:
    """How the model is spread over devices: a name of `rules.BACKENDS`, `single`, or another."""
    if args.deepspeed:
        return "deepspeed"
    if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        from torch.distributed.fsdp import FSDPModule

        sharded = any(isinstance(module, FSDPModule) for module in model.modules())
        return "fsdp2" if sharded else "tensor parallelism"
    if args.fsdp:
        return "FSDP1"
    if args.n_gpu > 1:
        return "DataParallel (more than one GPU in one process)"
    return "ddp" if args.world_size > 1 else "single"


def _adapter(model: nn.Module) -> Any:
    configs = getattr(model, "peft_config", {})
    return next(iter(configs.values()), None)


def _tuner(model: nn.Module, config: Any) -> str:
    if config is None:
        return "full"
    if getattr(config, "use_dora", False):
        return "dora"
    quantised = getattr(model, "is_loaded_in_4bit", False) or getattr(
        model, "is_loaded_in_8bit", False
    )
    return "qlora" if quantised else "lora"


def _init(config: Any) -> str:
    start = getattr(config, "init_lora_weights", True)
    return "default" if start is True else str(start)
