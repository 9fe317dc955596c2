"""A model provider for Inspect: `inspect eval TASK --model holdfast/FOLDER`.

Inspect's cache and `eval_set` know a model by its name, so two checkpoints at one path, or
`hf/local` with two `model_path`s, share their answers. Here the name carries the digest of the
weights: `holdfast/FOLDER@5e03f0e61088084e`. Loaded by Inspect through its entry points, in its
environment.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)

from holdfast.core.errors import HoldfastError, UsageError
from holdfast.core.protocols import Messages

MAX_CONNECTIONS = 32
"""Samples in flight, and so the largest batch, unless Inspect is told otherwise."""
GATHER_SECONDS = 0.02
"""How long a batch waits for company after its first sample."""
_UNSUPPORTED = ("top_p", "top_k", "stop_seqs", "logprobs", "num_choices", "logit_bias")


class _Ask(NamedTuple):
    messages: Messages
    options: tuple[int, float, int]
    """(max_new_tokens, temperature, seed)."""
    answer: Future[str]


class HoldfastAPI(ModelAPI):  # type: ignore[misc]  # Inspect is an optional, unseen import
    """A local checkpoint, answered by Holdfast's own generation: no doubled BOS, greedy by default.

    Model arguments: `adapter` (folder of a PEFT adapter), `device`, `dtype`.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - the signature is Inspect's
        **model_args: Any,
    ) -> None:
        """Load the checkpoint and take its digest into the name."""
        from holdfast.models.loading import load

        adapter = model_args.pop("adapter", None)
        device, dtype = model_args.pop("device", "cpu"), model_args.pop("dtype", "auto")
        if model_args:
            raise UsageError(
                "unknown model arguments", got=", ".join(sorted(model_args)),
                expected="adapter, device or dtype",
            )  # fmt: skip
        source = model_name.partition("@")[0]
        self.loaded = load(
            source, adapter=Path(adapter) if adapter else None, device=device, dtype=dtype
        )
        named = f"{source}@{self.loaded.digest[:16]}"
        if "@" in model_name and model_name != named:
            raise UsageError(
                f"{source} holds other weights than its name says", got=named, expected=model_name
            )
        super().__init__(named, base_url, api_key, [], config)
        self._waiting: queue.SimpleQueue[_Ask | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, daemon=True).start()

    async def generate(
        self, input: list[ChatMessage], tools: list[Any], tool_choice: Any, config: GenerateConfig
    ) -> ModelOutput:
        """Answer one conversation; samples in flight at the same time share a batch."""
        asked = [name for name in _UNSUPPORTED if getattr(config, name) is not None]
        if tools or asked:
            raise UsageError("tools, or " + ", ".join(asked or ["-"]), expected="plain generation")
        messages = [{"role": message.role, "content": message.text} for message in input]
        options = (config.max_tokens or self.max_tokens(), config.temperature or 0.0,
                   config.seed or 0)  # fmt: skip
        ask = _Ask(messages, options, Future())
        self._waiting.put(ask)
        limiter = anyio.CapacityLimiter(1)
        answer = await anyio.to_thread.run_sync(ask.answer.result, limiter=limiter)
        output = ModelOutput.from_content(self.model_name, answer)
        tokens = len(self.loaded.render(messages)), len(self.loaded.encode_answer(answer))
        output.usage = ModelUsage(
            input_tokens=tokens[0], output_tokens=tokens[1], total_tokens=sum(tokens)
        )
        return output

    def max_tokens(self) -> int:
        """New tokens where the task says nothing."""
        return 512

    def max_connections(self) -> int:
        """Samples in flight."""
        return MAX_CONNECTIONS

    def close(self) -> None:
        """End the thread that answers."""
        self._waiting.put(None)

    def _serve(self) -> None:
        """Collect what waits, and answer what goes together in one batch."""
        while (first := self._waiting.get()) is not None:
            time.sleep(GATHER_SECONDS)
            batch = [first]
            while len(batch) < MAX_CONNECTIONS and not self._waiting.empty():
                ask = self._waiting.get()
                if ask is None:
                    self._waiting.put(None)
                    break
                batch.append(ask)
            for options in sorted({ask.options for ask in batch}):
                self._answer([ask for ask in batch if ask.options == options])

    def _answer(self, batch: list[_Ask]) -> None:
        max_new_tokens, temperature, seed = batch[0].options
        try:
            answers = self.loaded.generate(
                [ask.messages for ask in batch], max_new_tokens=max_new_tokens,
                batch_size=len(batch), temperature=temperature, seed=seed,
            )  # fmt: skip
        except (HoldfastError, RuntimeError) as error:  # RuntimeError: torch, out of memory too
            for ask in batch:
                ask.answer.set_exception(error)
            return
        for ask, answer in zip(batch, answers, strict=True):
            ask.answer.set_result(answer)


@modelapi(name="holdfast")  # type: ignore[untyped-decorator]  # the same
def holdfast() -> type[ModelAPI]:
    """The provider, as Inspect's registry asks for it."""
    return HoldfastAPI
