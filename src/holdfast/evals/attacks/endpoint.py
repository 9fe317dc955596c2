"""The attacker by name: a local model, or a chat endpoint that speaks OpenAI's protocol."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.core.errors import UsageError
from holdfast.core.protocols import Generator, Messages
from holdfast.evals.endpoint import connect
from holdfast.evals.replies import Streaming


class Waited:
    """A streaming generator as a plain one: all replies, in order.

    A request that failed gives "", which an attack takes as a round without a wording.
    """

    def __init__(self, source: Streaming) -> None:
        self._source = source
        self.digest = source.digest

    def generate(
        self,
        conversations: Sequence[Messages],
        *,
        max_new_tokens: int,
        batch_size: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """One answer per conversation, in order."""
        answers = [""] * len(conversations)
        parts = self._source.stream(
            conversations, max_new_tokens=max_new_tokens, batch_size=batch_size,
            temperature=temperature, seed=seed,
        )  # fmt: skip
        for part in parts:
            for index, reply in part.items():
                answers[index] = reply.text
        return answers


def attacker_of(spec: str, *, device: str = "cpu") -> Generator:
    """`http(s)://HOST/v1#MODEL` as an endpoint (key in `HOLDFAST_API_KEY`), else a local model."""
    if not spec:
        raise UsageError("no attacker is named", expected="a model, or http://HOST/v1#MODEL")
    if spec.startswith(("http://", "https://")):
        url, _, model = spec.partition("#")
        return Waited(connect(url, model))
    from holdfast.models.loading import load

    return load(spec, device=device)
