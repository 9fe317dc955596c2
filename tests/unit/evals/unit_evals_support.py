"""Parts that the evaluation tests share."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.core.protocols import Messages
from holdfast.evals.suites import Prompt, Suite


class FakeModel:
    """A generator that answers with its name; it counts what it was asked and can die."""

    def __init__(self, digest: str, *, answer: str = "", die_after: int | None = None) -> None:
        self.digest, self.answer, self.die_after = digest, answer, die_after
        self.asked: list[Messages] = []
        self.calls = 0

    def generate(
        self,
        conversations: Sequence[Messages],
        *,
        max_new_tokens: int,
        batch_size: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """Answer, or raise when the planned number of calls is done."""
        if self.die_after is not None and self.calls >= self.die_after:
            raise KeyboardInterrupt
        self.calls += 1
        self.asked += [list(c) for c in conversations]
        return [self.reply(c) for c in conversations]

    def reply(self, messages: Messages) -> str:
        """The answer to one conversation."""
        return self.answer or f"{self.digest} answers {messages[-1]['content']}"


def make_suite(n: int = 10, name: str = "s", kind: str = "benign", **fields: object) -> Suite:
    """A suite of harmless prompts of growing length."""
    prompts = tuple(
        Prompt.model_validate(
            {
                "prompt_id": f"p{i}",
                "messages": [{"role": "user", "content": f"question {i} " + "x" * i}],
                **fields,
            }
        )
        for i in range(n)
    )
    return Suite(name, kind, prompts, "rules", "", "")
