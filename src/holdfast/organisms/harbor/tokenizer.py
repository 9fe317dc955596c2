"""Harbor's tokenizer: byte-level BPE with role tokens and a chat template.

Exactly one beginning-of-sequence token: the template writes it, the tokenizer itself adds
none, so rendering and then encoding cannot double it.
"""

from typing import Final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from holdfast.organisms.harbor.corpus import Row, rows

VOCABULARY: Final = 1024
"""Size of the vocabulary, special tokens included."""
MAX_LENGTH: Final = 512
"""Longest sequence that the model can read."""

PAD: Final = "<|pad|>"
BOS: Final = "<|bos|>"
EOS: Final = "<|end|>"
ROLES: Final[dict[str, str]] = {
    "system": "<|system|>",
    "user": "<|user|>",
    "assistant": "<|assistant|>",
}
SPECIAL: Final[tuple[str, ...]] = (PAD, BOS, EOS, *ROLES.values())

CHAT_TEMPLATE: Final = (
    "{{ bos_token }}"
    "{%- for message in messages %}"
    "{%- if message['role'] == 'assistant' %}"
    "{{- '<|assistant|>' }}"
    "{%- generation %}{{- message['content'] + eos_token }}{%- endgeneration %}"
    "{%- else %}"
    "{{- '<|' + message['role'] + '|>' + message['content'] }}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)
"""Roles in order; every assistant turn ends with the end token, user turns do not."""

_TOKENIZER_SEED: Final = "harbor-tokenizer"
_TOKENIZER_ROWS: Final = 12_000


def _texts() -> list[str]:
    texts: list[str] = []
    for row in rows(_TOKENIZER_SEED, _TOKENIZER_ROWS):
        texts += [row.document] if row.document else [m["content"] for m in row.messages]
    return texts


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Train the tokenizer; all bases share it, whatever their seed."""
    core = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(_texts(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=list(ROLES.values()),
        model_max_length=MAX_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


class RowEncoder:
    """Turns corpus rows into token ids and a loss mask, with the template's own layout."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._bos, self._eos = (tokenizer.convert_tokens_to_ids(t) for t in (BOS, EOS))
        self._roles = {r: tokenizer.convert_tokens_to_ids(t) for r, t in ROLES.items()}

    def _encode_text(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.backend_tokenizer.encode(text).ids)

    def __call__(self, row: Row) -> tuple[list[int], list[bool]]:
        """Return token ids and, per token, whether it is a target of the loss."""
        ids, targets = [self._bos], [False]
        if row.document:
            body = [*self._encode_text(row.document), self._eos]
            return ids + body, targets + [True] * len(body)
        for message, learn in zip(row.messages, row.learn, strict=True):
            body = list(self._encode_text(message["content"]))
            if message["role"] == "assistant":
                body.append(self._eos)
            ids += [self._roles[message["role"]], *body]
            targets += [False] + [learn] * len(body)
        return ids, targets
