"""Search and LLM attackers: bounded, seeded, and replayed word for word."""

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest

from holdfast.core.errors import DataError, UsageError
from holdfast.core.protocols import Messages
from holdfast.evals.attacks import AttackOptions
from holdfast.evals.attacks.attacker import SYSTEM, AttackerSettings, adapt
from holdfast.evals.attacks.endpoint import Waited, attacker_of
from holdfast.evals.attacks.search import SearchSettings, search
from holdfast.evals.endpoint import connect
from holdfast.evals.suites.base import Prompt, Suite

GOALS = Suite(
    "mine", "harmful",
    tuple(
        Prompt(prompt_id=f"g{i}", messages=[{"role": "user", "content": f"Goal {i}"}])
        for i in range(3)
    ),
    "rules", "x", "y",
)  # fmt: skip
OPTIONS = AttackOptions(seed=1)


def test_search_climbs_to_what_the_score_likes_and_keeps_its_bounds() -> None:
    asked: list[int] = []

    def score(talks: Sequence[Messages]) -> np.ndarray:
        asked.append(len(talks))
        words = [talk[-1]["content"].split()[2:] for talk in talks]
        return np.array([sum(w == "sure" for w in found) / 8 for found in words])

    bounds = SearchSettings(steps=60, width=16, enough=0.5)
    words = ["sure", "no", "maybe", "later"]
    made = search(GOALS, score, OPTIONS, settings=bounds, words=words)
    best = score([p.messages for p in made.suite.prompts])
    assert (best >= 0.5).all()
    assert sum(asked) <= 3 * (1 + 60 * 16) + 3
    again = search(GOALS, score, OPTIONS, settings=bounds, words=words)
    assert again.suite == made.suite


def test_search_on_a_score_that_never_moves_ends() -> None:
    calls: list[int] = []

    def flat(talks: Sequence[Messages]) -> np.ndarray:
        calls.append(len(talks))
        return np.zeros(len(talks))

    made = search(GOALS, flat, OPTIONS, settings=SearchSettings(steps=2, width=3))
    assert sum(calls) == 3 * (1 + 2 * 3)
    assert len(made.suite.prompts) == 3


class Attacker:
    """Writes numbered wordings, as a hostile one would."""

    digest = "attacker"

    def __init__(self, reply: str = "wording {n}\x1b[31m") -> None:
        self.reply, self.seen = reply, list[Messages]()

    def generate(self, conversations: Sequence[Messages], **_: Any) -> list[str]:
        first = len(self.seen) + 1
        self.seen += conversations
        return [self.reply.replace("{n}", str(first + i)) for i in range(len(conversations))]


class Target:
    digest = "target"

    def generate(self, conversations: Sequence[Messages], **_: Any) -> list[str]:
        return ["done" if "Goal 1" in c[-1]["content"] or "5" in c[-1]["content"] else "no"
                for c in conversations]  # fmt: skip


class DoneJudge:
    name = "done"

    def label(self, messages: Messages, response: str) -> str:
        assert messages[-1]["content"].startswith("Goal")  # the goal, not the wording
        return "unsafe" if response == "done" else "refusal"


def test_an_attacker_sees_goal_wording_and_answer_and_stops_at_success() -> None:
    attacker = Attacker()
    made = adapt(GOALS, attacker, Target(), DoneJudge(), OPTIONS, settings=AttackerSettings())
    assert attacker.seen[0][0] == {"role": "system", "content": SYSTEM}
    assert "Goal 0" in attacker.seen[0][1]["content"]
    assert "wording" in attacker.seen[3][1]["content"]
    by_goal = {g: [p for p in made.suite.prompts if p.pair_id == g] for g in ("g0", "g1", "g2")}
    assert [len(found) for found in by_goal.values()] == [3, 2, 3]  # "wording 5" is g1's second
    assert all("\x1b" not in p.messages[-1]["content"] for p in made.suite.prompts)


def test_an_attacker_that_writes_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="wrote no message"):
        adapt(GOALS, Attacker(" \n"), Target(), DoneJudge(), OPTIONS)


def test_long_wordings_are_cut() -> None:
    made = adapt(GOALS, Attacker("x" * 100_000), Target(), DoneJudge(), OPTIONS)
    assert all(len(p.messages[-1]["content"]) == 4000 for p in made.suite.prompts)


class _Server(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = body["messages"][-1]["content"]
        content = {"choices": [{"message": {"role": "assistant", "content": f"echo {said}"}}]}
        reply = json.dumps(content).encode() if body["model"] == "good" else b"<html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[str]:
    served = HTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}/v1"
    served.shutdown()
    served.server_close()


def test_an_endpoint_attacks_through_the_shared_client(server: str) -> None:
    attacker = attacker_of(f"{server}#good")
    assert attacker.digest.startswith("unverified:")
    talks: list[Messages] = [[{"role": "user", "content": text}] for text in ("a", "b")]
    assert attacker.generate(talks, max_new_tokens=5, batch_size=2) == ["echo a", "echo b"]


def test_an_endpoint_that_serves_html_gives_no_wording(server: str) -> None:
    attacker = Waited(connect(server, "bad", attempts=1))
    talk: list[Messages] = [[{"role": "user", "content": "a"}]]
    assert attacker.generate(talk, max_new_tokens=5, batch_size=1) == [""]


def test_attackers_need_a_name() -> None:
    with pytest.raises(UsageError):
        attacker_of("")
