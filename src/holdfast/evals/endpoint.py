"""A model behind an OpenAI-compatible endpoint, as a generator for the runner.

An endpoint says a name, never a digest. Its identity is therefore `unverified:NAME@ADDRESS`: two
runs against it are only as comparable as its operator is careful, and the gate says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any

from holdfast.core.errors import EnvironmentFault, UsageError
from holdfast.core.protocols import Messages
from holdfast.core.records.refs import unverified
from holdfast.evals.chat_http import ChatClient, Outcome
from holdfast.evals.replies import Reply

KEY_VARIABLE = "HOLDFAST_API_KEY"
GIVE_UP = 10
"""Prompts in a row that the server fails before the run stops; it can be resumed."""


class Endpoint:
    """A served model; implements `evals.replies.Streaming`.

    Args:
        client: the connection, with its limits.
        model: name of the served model; "" takes the only one that the endpoint lists.
        price: price of a million input tokens and of a million output tokens.
    """

    def __init__(
        self, client: ChatClient, model: str = "", *, price: tuple[float, float] | None = None
    ) -> None:
        self.client, self.price = client, price
        self.model = model or _only(client)
        self.digest = unverified(f"{self.model}@{client.base_url}")
        self.retries = 0
        self._fingerprints: set[str] = set()

    @property
    def facts(self) -> dict[str, str]:
        """Address, served name, repeated requests, and the states that the server admitted to."""
        facts = {
            "endpoint": self.client.base_url, "served_model": self.model,
            "retries": str(self.retries),
            "identity": "unverified: the weights behind an endpoint cannot be seen",
        }  # fmt: skip
        if self._fingerprints:
            facts["system_fingerprints"] = ", ".join(sorted(self._fingerprints)[:20])
        return facts

    def stream(
        self,
        conversations: Sequence[Messages],
        *,
        max_new_tokens: int,
        batch_size: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Iterator[Mapping[int, Reply]]:
        """Replies as they come, with `batch_size` requests in flight.

        Raises:
            EnvironmentFault: the endpoint refuses every request, or failed `GIVE_UP` prompts (or
                all requests in flight) in a row. Finished answers have been handed over by then.
        """
        parameters: dict[str, Any] = {"max_tokens": max_new_tokens, "temperature": temperature}
        if temperature > 0:
            parameters["seed"] = seed
        stop = self.client.stop
        stop.clear()
        pool = ThreadPoolExecutor(min(batch_size, len(conversations)) or 1)
        try:
            tasks = {
                pool.submit(self.client.complete, self.model, messages, parameters): index
                for index, messages in enumerate(conversations)
            }
            yield from self._collect(tasks, max(GIVE_UP, batch_size))
        finally:
            # Nothing waits for requests in flight; waits between requests end at once.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def _collect(
        self, tasks: Mapping[Future[Outcome], int], limit: int
    ) -> Iterator[Mapping[int, Reply]]:
        failed = 0
        for task in as_completed(tasks):
            outcome = task.result()
            self.retries += outcome.retries
            if outcome.fingerprint:
                self._fingerprints.add(outcome.fingerprint)
            failed = failed + 1 if outcome.lost else 0
            if failed >= limit:
                raise EnvironmentFault(
                    f"{self.client.base_url} failed {failed} prompts in a row, the last with: "
                    f"{outcome.reply.error}",
                    next_step="check the server and run the same command again; "
                    "finished answers are kept",
                )
            yield {tasks[task]: outcome.reply}


def connect(
    url: str,
    model: str = "",
    *,
    timeout: float = 120.0,
    attempts: int = 5,
    price: tuple[float, float] | None = None,
) -> Endpoint:
    """The model served at `url`; the key, if one is needed, is in `HOLDFAST_API_KEY`."""
    key = os.environ.get(KEY_VARIABLE, "")
    return Endpoint(ChatClient(url, key, timeout, attempts), model, price=price)


def _only(client: ChatClient) -> str:
    names = client.models()
    if len(names) != 1:
        listed = ", ".join(name[:60] for name in names[:8]) or "none"
        raise UsageError(
            f"{client.base_url} serves {len(names)} models", got=listed, expected="one",
            next_step="name one with --served-model",
        )  # fmt: skip
    return names[0]
