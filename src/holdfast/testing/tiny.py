"""Random tiny chat models of eight architectures, built in code in a fraction of a second.

They say nothing sensible; they have the module names, caches, masks, tokenizers and templates of
their big relatives, which is what can break a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from holdfast.core.errors import UsageError
from holdfast.core.registry import nearest
from holdfast.models.versions import precision

_CORPUS = (
    "The harbour opens at six and the ferry leaves when the tide is high.",
    "How do I mend a net? Show me how the lamp of the lighthouse is cleaned.",
    "I cannot help with that, but here is something safe that may be of use.",
    "Sure, here is what you asked for: first, second, third, and so on.",
)
_CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LLAMA = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
_MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    " {{ m.content }}{{ eos_token }}{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Shape:
    """What tells one architecture's tiny model from another's."""

    model_type: str
    """Name in transformers."""
    template: str
    """Chat template."""
    specials: tuple[str, ...]
    """Special tokens of the template, besides <pad>, <s> and </s>."""
    bos: bool = True
    """Whether the tokenizer has a BOS and adds it by itself (the way to a doubled one)."""
    settings: tuple[tuple[str, Any], ...] = ()
    """Configuration beyond the common sizes."""


_ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
_IM = ("<|im_start|>", "<|im_end|>")
SHAPES: dict[str, Shape] = {
    "llama": Shape("llama", _LLAMA, _ROLES),
    "qwen2": Shape("qwen2", _CHATML, _IM, bos=False),
    "qwen3": Shape("qwen3", _CHATML, _IM, bos=False, settings=(("head_dim", 8),)),
    # A window shorter than the prompts, so that the sliding cache really slides.
    "gemma2": Shape(
        "gemma2", _GEMMA, ("<start_of_turn>", "<end_of_turn>"),
        settings=(("head_dim", 8), ("sliding_window", 16), ("query_pre_attn_scalar", 8)),
    ),
    "mistral": Shape(
        "mistral", _MISTRAL, ("[INST]", "[/INST]"), settings=(("sliding_window", 16),)
    ),
    "phi3": Shape("phi3", _LLAMA, _ROLES),
    "gpt2": Shape("gpt2", _CHATML, _IM, bos=False),
    "gpt_neox": Shape("gpt_neox", _LLAMA, _ROLES),
}  # fmt: skip
ARCHITECTURES = tuple(SHAPES)
"""Names that `build` takes."""


def build(
    folder: Path,
    architecture: str = "llama",
    *,
    layers: int = 3,
    hidden: int = 32,
    context: int = 256,
    seed: int = 0,
    chat_template: bool = True,
) -> Path:
    """Save a random tiny model with its tokenizer to `folder`; the same seed gives the same bytes.

    Raises:
        UsageError: unknown architecture.
    """
    if architecture not in SHAPES:
        raise UsageError(
            f"unknown architecture '{architecture}'",
            next_step=nearest(architecture, list(SHAPES)),
        )
    shape = SHAPES[architecture]
    tokenizer = build_tokenizer(shape, context)
    if not chat_template:
        tokenizer.chat_template = None
    model = build_model(shape, tokenizer, layers=layers, hidden=hidden, context=context, seed=seed)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


def build_adapter(base: Path, folder: Path, *, rank: int = 4, seed: int = 1) -> Path:
    """Save a random LoRA adapter for the model in `base` to `folder`."""
    from holdfast.models.hf import wrap_lora

    model = AutoModelForCausalLM.from_pretrained(str(base), local_files_only=True)
    wrap_lora(model, rank=rank, seed=seed).save_pretrained(str(folder))
    return folder


def build_tokenizer(shape: Shape, context: int = 256) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of about 300 tokens, trained on four sentences."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, show_progress=False,
        special_tokens=["<pad>", "<s>", "</s>", *shape.specials],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(_CORPUS, trainer)
    if shape.bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>" if shape.bos else None, eos_token="</s>",
        pad_token="<pad>", chat_template=shape.template, model_max_length=context,
    )  # fmt: skip


def build_model(
    shape: Shape,
    tokenizer: PreTrainedTokenizerFast,
    *,
    layers: int = 3,
    hidden: int = 32,
    context: int = 256,
    seed: int = 0,
) -> Any:
    """A random model of this shape in float32, with weights large enough to have opinions."""
    config = AutoConfig.for_model(
        shape.model_type, vocab_size=len(tokenizer), hidden_size=hidden,
        intermediate_size=2 * hidden, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=context, initializer_range=0.2,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, **dict(shape.settings),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, **precision(torch.float32)).eval()
