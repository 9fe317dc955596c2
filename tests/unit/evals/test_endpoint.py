"""Endpoints: a real local server that hangs, lies and drips; nothing of it becomes a pass."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from unit_evals_support import make_suite

from holdfast.core.completions import load as load_completions
from holdfast.core.errors import EnvironmentFault, UsageError
from holdfast.core.labels import UNSCORED
from holdfast.evals import chat_http
from holdfast.evals.chat_http import ChatClient
from holdfast.evals.endpoint import GIVE_UP, Endpoint, connect
from holdfast.evals.judges.rules import RulesJudge
from holdfast.evals.plan import freeze
from holdfast.evals.record import EvalRecord, record_path
from holdfast.evals.runner import run

RULES = {"rules": RulesJudge()}
Script = Callable[[str, int], tuple[int, bytes, dict[str, str]]]


def chat(text: Any, **extra: Any) -> bytes:
    """A chat completion as servers send it."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    return json.dumps({"choices": [choice], "usage": usage, **extra}).encode()


class Server:
    """A chat server whose replies a test decides by prompt and number of the try."""

    def __init__(self) -> None:
        self.script: Script = lambda prompt, number: (200, chat(f"echo {prompt}"), {})
        self.tries: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.flying = self.most = 0
        self.pause = 0.0
        self.drip = 0.0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

            def do_GET(self) -> None:
                self._send(200, json.dumps({"data": [{"id": "tiny"}]}).encode(), {})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                prompt = body["messages"][-1]["content"]
                with lock:
                    outer.tries[prompt] += 1
                    number = outer.tries[prompt]
                    outer.bodies.append(body)
                    outer.headers.append(dict(self.headers))
                    outer.flying += 1
                    outer.most = max(outer.most, outer.flying)
                time.sleep(outer.pause)
                reply = outer.script(prompt, number)
                # Before the reply leaves: the client may ask again as soon as it has it.
                with lock:
                    outer.flying -= 1
                self._send(*reply)

            def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
                try:
                    self.send_response(code)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", headers.get("X-Length", str(len(body))))
                    self.end_headers()
                    for start in range(0, len(body), 1 << 16 if not outer.drip else 8):
                        self.wfile.write(body[start : start + (1 << 16 if not outer.drip else 8)])
                        self.wfile.flush()
                        time.sleep(outer.drip)
                except OSError:
                    """The client hung up, as it should."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def client(self, **options: Any) -> ChatClient:
        return ChatClient(self.url, **{"timeout": 5.0, "attempts": 3, "backoff": 0.01, **options})


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


def _evaluate(
    endpoint: Endpoint, folder: Path, n: int = 4, batch_size: int = 4
) -> tuple[list[dict[str, Any]], EvalRecord]:
    out = folder / "out.jsonl"
    run(endpoint, freeze([make_suite(n)]), RULES, out=out, cache=folder / "cache", arm="served",
        max_new_tokens=8, batch_size=batch_size)  # fmt: skip
    return load_completions(out).rows, EvalRecord.load(record_path(out))


def test_answers_come_with_tokens_cost_and_the_word_unverified(
    server: Server, tmp_path: Path
) -> None:
    endpoint = connect(server.url, price=(2.0, 10.0))
    rows, record = _evaluate(endpoint, tmp_path)
    assert [row["response"] for row in rows] == [f"echo {row['prompt']}" for row in rows]
    assert endpoint.model == "tiny"
    assert {row["model"] for row in rows} == {f"unverified:tiny@{server.url}/v1"}
    assert not record.verified
    assert "cannot be seen" in record.environment["identity"]
    assert (record.input_tokens, record.output_tokens) == (28, 12)
    assert record.cost == pytest.approx((28 * 2 + 12 * 10) / 1e6)
    assert (record.answers, record.failed, record.reused) == (4, 0, 0)
    sent = server.bodies[0]
    assert (sent["model"], sent["max_tokens"], sent["temperature"]) == ("tiny", 8, 0.0)


def test_the_key_goes_into_the_header_and_nowhere_else(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_API_KEY", "sesame-1234")
    endpoint = connect(server.url, "tiny")
    _, record = _evaluate(endpoint, tmp_path)
    assert server.headers[0]["Authorization"] == "Bearer sesame-1234"
    assert "sesame" not in record.model_dump_json() + repr(endpoint.client)
    assert all("sesame" not in path.read_text() for path in tmp_path.iterdir())


def test_429_then_success_waits_as_told_and_counts(server: Server) -> None:
    server.script = lambda prompt, number: (
        (429, b"slow down", {"Retry-After": "0.2"}) if number == 1 else (200, chat("fine"), {})
    )
    begin = time.monotonic()
    outcome = server.client().complete("tiny", [{"role": "user", "content": "x"}], {})
    assert (outcome.reply.text, outcome.retries) == ("fine", 1)
    assert time.monotonic() - begin >= 0.16


@pytest.mark.parametrize(
    ("code", "body", "headers", "said", "tries"),
    [
        (200, b"<!doctype html><p>Sign in</p>", {}, "a web page", 3),
        (200, chat("cut off here")[:40], {}, "no complete JSON", 3),
        (200, b"[" * 100_000, {}, "no complete JSON", 3),
        (200, b'{"choices": []}', {}, "no chat completion", 3),
        (200, chat({"text": "odd"}), {}, "holds no text", 1),
        (200, chat("x" * (10 << 20)), {}, "longer than 4 MiB", 1),
        (500, b"", {}, "HTTP 500", 3),
        (400, b"too long", {}, "HTTP 400", 1),
        (302, b"", {"Location": "http://127.0.0.1:9/"}, "HTTP 302", 1),
        (200, chat("short"), {"X-Length": "100000"}, "connection failed", 3),
    ],
)  # fmt: skip
def test_a_useless_reply_is_unscored_and_says_why(
    server: Server, tmp_path: Path, code: int, body: bytes, headers: dict[str, str], said: str,
    tries: int,
) -> None:  # fmt: skip
    server.script = lambda prompt, number: (code, body, headers)
    rows, record = _evaluate(Endpoint(server.client(), "tiny"), tmp_path, n=2)
    assert all(said in row["error"] and row["response"] == "" for row in rows)
    assert all(row["labels"] == {"rules": UNSCORED} for row in rows)
    assert set(server.tries.values()) == {tries}
    assert (record.failed, record.answers, record.cost) == (2, 0, None)


def test_a_server_that_hangs_or_drips_is_left_in_time(server: Server) -> None:
    client = server.client(timeout=0.3, attempts=2)
    message = [{"role": "user", "content": "x"}]
    server.pause = 1.0
    begin = time.monotonic()
    assert "no reply within 0.3 s" in client.complete("tiny", message, {}).reply.error
    server.pause, server.drip = 0.0, 0.1
    assert "no reply within 0.3 s" in client.complete("tiny", message, {}).reply.error
    assert time.monotonic() - begin < 3.0


def test_control_characters_and_lone_surrogates_reach_the_file_harmlessly(
    server: Server, tmp_path: Path
) -> None:
    text = "a\x00b\x1b[31mred\u202e\r\n\ud800 end"
    server.script = lambda prompt, number: (200, chat(text), {})
    rows, _ = _evaluate(Endpoint(server.client(), "tiny"), tmp_path, n=1)
    assert rows[0]["response"] == text.replace("\ud800", "?")
    assert b"\x1b" not in (tmp_path / "out.jsonl").read_bytes()


def test_the_providers_filter_is_not_the_models_refusal(server: Server, tmp_path: Path) -> None:
    def script(prompt: str, number: int) -> tuple[int, bytes, dict[str, str]]:
        document = json.loads(chat("I can't"))
        document["choices"][0]["finish_reason"] = "content_filter"
        return 200, json.dumps(document).encode(), {}

    server.script = script
    rows, _ = _evaluate(Endpoint(server.client(), "tiny"), tmp_path, n=1)
    assert rows[0]["labels"] == {"rules": UNSCORED}
    assert "filter" in rows[0]["error"]


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_refused_key_stops_the_run_at_once(server: Server, tmp_path: Path, code: int) -> None:
    server.script = lambda prompt, number: (code, b"", {})
    with pytest.raises(EnvironmentFault, match=f"HTTP {code}"):
        _evaluate(Endpoint(server.client(), "tiny"), tmp_path, n=50)
    assert sum(server.tries.values()) < 20


def test_a_dead_server_stops_the_run_and_finished_answers_are_not_asked_again(
    server: Server, tmp_path: Path
) -> None:
    good = {"question 29", "question 28", "question 27"}
    server.script = lambda prompt, number: (
        (200, chat("fine"), {}) if prompt[:11] in good else (503, b"", {})
    )
    with pytest.raises(EnvironmentFault, match="prompts in a row"):
        _evaluate(Endpoint(server.client(), "tiny"), tmp_path, n=20 + GIVE_UP, batch_size=1)
    assert (tmp_path / "cache.unverified").exists()
    server.script = lambda prompt, number: (200, chat("fine"), {})
    rows, record = _evaluate(Endpoint(server.client(), "tiny"), tmp_path, n=20 + GIVE_UP)
    assert (record.reused, record.answers, len(rows)) == (3, 30, 30)
    assert all(tries == 1 for prompt, tries in server.tries.items() if prompt[:11] in good)


def test_answers_of_an_endpoint_do_not_outlive_their_run(server: Server, tmp_path: Path) -> None:
    _evaluate(Endpoint(server.client(), "tiny"), tmp_path)
    server.script = lambda prompt, number: (200, chat("other weights"), {})
    rows, record = _evaluate(Endpoint(server.client(), "tiny"), tmp_path)
    assert {row["response"] for row in rows} == {"other weights"}
    assert record.reused == 0


def test_requests_in_flight_are_bounded(server: Server, tmp_path: Path) -> None:
    server.pause = 0.02
    _evaluate(Endpoint(server.client(), "tiny"), tmp_path, n=20, batch_size=5)
    assert 2 <= server.most <= 5


def test_fingerprints_are_recorded(server: Server, tmp_path: Path) -> None:
    server.script = lambda prompt, number: (
        200, chat("x", system_fingerprint="fp" + prompt[9]), {},
    )  # fmt: skip
    _, record = _evaluate(Endpoint(server.client(), "tiny"), tmp_path, n=2)
    assert record.environment["system_fingerprints"] == "fp0, fp1"


def test_bad_addresses_and_several_models_are_usage_errors(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("ftp://host", "http://", "http://user:word@host/v1", "http://host/v1?key=1"):
        with pytest.raises(UsageError):
            ChatClient(url)
    monkeypatch.setattr(ChatClient, "models", lambda self: ["a", "b"])
    with pytest.raises(UsageError, match="serves 2 models; got a, b"):
        Endpoint(server.client())


def test_a_closed_port_is_an_environment_fault() -> None:
    with pytest.raises(EnvironmentFault, match="does not list its models"):
        connect("http://127.0.0.1:9", timeout=1.0)
    assert chat_http.LONGEST_WAIT <= 60
