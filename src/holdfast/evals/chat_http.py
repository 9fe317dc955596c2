"""One chat completion over HTTP: bounded in time and size, retried with backoff, never trusted.

A server may hang, drip, redirect, send HTML, half a JSON document, or ten megabytes. Whatever it
does, the outcome is an answer, a reason why there is none, or one clear error.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from holdfast.core.errors import EnvironmentFault, UsageError
from holdfast.core.protocols import Messages
from holdfast.evals.replies import Reply

MAX_REPLY = 4 << 20
"""Bytes of a reply that are read; a longer one is refused unread."""
LONGEST_WAIT = 60.0
"""Seconds that `Retry-After` or the backoff may ask for."""
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_FATAL = {401: "the key was refused", 403: "access was refused", 404: "there is no such model"}


class Outcome(NamedTuple):
    """What became of one request."""

    reply: Reply
    """The answer, or why there is none."""
    lost: bool
    """Whether the server failed, rather than refused this one prompt."""
    retries: int
    """Requests beyond the first."""
    fingerprint: str
    """What the server calls its own state (`system_fingerprint`), if it says."""


class _Failed(Exception):
    """One request failed; `again` says whether another try can help, `after` when."""

    def __init__(self, what: str, *, again: bool = True, after: float = 0.0) -> None:
        super().__init__(what)
        self.what, self.again, self.after = what, again, after


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could carry the key to another host: it is a failure, not followed."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Never."""
        return


@dataclass
class ChatClient:
    """Speaks the chat-completions protocol of OpenAI, vLLM, llama.cpp and others."""

    base_url: str
    """Such as `http://localhost:8000/v1`; without a path, `/v1` is added."""
    key: str = field(default="", repr=False)
    """Bearer token; never part of a record or a message."""
    timeout: float = 120.0
    """Seconds for one whole request, the reading of a dripping reply included."""
    attempts: int = 5
    """Requests per prompt at most."""
    backoff: float = 1.0
    """Seconds before the second request; doubled each time, with jitter, up to `LONGEST_WAIT`."""
    stop: threading.Event = field(default_factory=threading.Event, repr=False)
    """Set to give up waiting at once."""

    def __post_init__(self) -> None:
        """Check the address once."""
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError("endpoint", got=self.base_url, expected="http://host:port/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise UsageError(
                "an endpoint's address holds more than scheme, host and path",
                next_step="give the key through the environment variable HOLDFAST_API_KEY",
            )
        self.base_url = self.base_url.rstrip("/") + ("" if parts.path.strip("/") else "/v1")
        self._opener = urllib.request.build_opener(_NoRedirect)

    def complete(self, model: str, messages: Messages, parameters: Mapping[str, Any]) -> Outcome:
        """Ask once, and again where that can help.

        Raises:
            EnvironmentFault: the endpoint refuses the key, the access or the model outright.
        """
        body = {"model": model, "messages": messages, "stream": False, "n": 1, **parameters}
        content = json.dumps(body).encode()
        problem = _Failed("stopped before it was asked")
        tries = 0
        while tries < self.attempts and not self.stop.is_set():
            if tries:
                wait = max(self.backoff * 2 ** (tries - 1), problem.after)
                # Jitter keeps many clients from coming back together; it decides no result.
                self.stop.wait(min(wait, LONGEST_WAIT) * random.uniform(0.8, 1.2))
            tries += 1
            try:
                document = self._json("/chat/completions", content)
                reply, fingerprint = _read(document)
                return Outcome(reply, False, tries - 1, fingerprint)
            except _Failed as failed:
                problem = failed
                if not failed.again:
                    break
        reply = Reply("", error=f"{problem.what} ({tries} of {self.attempts} requests)")
        return Outcome(reply, problem.again, max(0, tries - 1), "")

    def models(self) -> list[str]:
        """Names that the endpoint says it serves."""
        try:
            data = self._json("/models", None).get("data")
        except _Failed as failed:
            raise EnvironmentFault(
                f"{self.base_url} does not list its models ({failed.what})",
                next_step="check the address, or name the model with --served-model",
            ) from None
        entries = data if isinstance(data, list) else []
        return [e["id"] for e in entries if isinstance(e, dict) and isinstance(e.get("id"), str)]

    def _json(self, path: str, content: bytes | None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.base_url + path, content, headers)
        deadline = time.monotonic() + self.timeout
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                text = _bounded(response, deadline)
        except urllib.error.HTTPError as error:
            raise self._refused(error) from None
        except TimeoutError:
            raise _Failed(f"no reply within {self.timeout:g} s") from None
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise _Failed(f"no reply within {self.timeout:g} s") from None
            raise _Failed(f"the connection failed ({type(reason).__name__})") from None
        return _object(text)

    def _refused(self, error: urllib.error.HTTPError) -> Exception:
        code = error.code
        error.close()
        if code in _FATAL:
            return EnvironmentFault(
                f"{self.base_url}: {_FATAL[code]} (HTTP {code})",
                next_step="check the address, the model's name and HOLDFAST_API_KEY",
            )
        try:
            after = max(0.0, float(error.headers.get("Retry-After", "")))
        except ValueError:
            after = 0.0
        return _Failed(f"HTTP {code}", again=code in _AGAIN, after=after)


def _bounded(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The body, if it is short enough and arrives in time."""
    parts: list[bytes] = []
    size = 0
    while part := response.read1(1 << 16):
        size += len(part)
        if size > MAX_REPLY:
            raise _Failed(f"the reply is longer than {MAX_REPLY >> 20} MiB", again=False)
        if time.monotonic() > deadline:
            raise TimeoutError
        parts.append(part)
    if response.length:
        raise _Failed(f"the connection failed ({response.length} bytes never came)")
    return b"".join(parts)


def _object(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        kind = "a web page" if text.lstrip()[:1] == b"<" else "no complete JSON"
        raise _Failed(f"the reply is {kind}") from None
    if not isinstance(document, dict):
        raise _Failed("the reply is no JSON object")
    return document


def _read(document: dict[str, Any]) -> tuple[Reply, str]:
    """The answer of a chat completion, and the server's fingerprint."""
    try:
        choice = document["choices"][0]
        message = choice["message"]
        text = message.get("content")
        if text is None:
            text = message.get("refusal")
        reason = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _Failed("the reply is no chat completion") from None
    if reason == "content_filter":
        # What is left is the filter's text, not the model's.
        raise _Failed("the provider's filter withheld the answer", again=False)
    if not isinstance(text, str):
        raise _Failed("the reply holds no text", again=False)
    usage = document.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    # JSON may hold lone surrogates, which no file can be written with.
    clean = text.encode("utf-8", "replace").decode()
    reply = Reply(
        clean, "", _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens"))
    )
    fingerprint = document.get("system_fingerprint")
    return reply, fingerprint[:80] if isinstance(fingerprint, str) else ""


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 40 else None
