"""Fan-out over a real local Ray cluster: every sample once, and a killed worker loses nothing."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from unit_evals_support import make_suite

from holdfast.core.completions import load as load_completions
from holdfast.core.errors import DataError, InvalidRun, UsageError
from holdfast.core.protocols import Messages
from holdfast.evals.fanout import Fleet
from holdfast.evals.judges.rules import RulesJudge
from holdfast.evals.plan import freeze
from holdfast.evals.record import EvalRecord, record_path
from holdfast.evals.runner import run

ray = pytest.importorskip("ray", reason="the extra 'scale' is not installed")
RULES = {"rules": RulesJudge()}


class Logged:
    """Answers slowly and notes every prompt that it finished, with its process."""

    def __init__(self, digest: str, log: str, pause: float) -> None:
        self.digest, self.log, self.pause = digest, log, pause

    def generate(self, conversations: Sequence[Messages], **options: object) -> list[str]:
        """Sleep, answer, append to the log."""
        time.sleep(self.pause)
        with open(self.log, "a", encoding="utf-8") as handle:
            for messages in conversations:
                handle.write(f"{os.getpid()} {messages[-1]['content']}\n")
        return [f"answer to {messages[-1]['content']}" for messages in conversations]


class TooLong(Logged):
    """Refuses its prompts."""

    def generate(self, conversations: Sequence[Messages], **options: object) -> list[str]:
        raise DataError("prompt 1 is too long", got="9 tokens")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A local cluster for two workers, started once; this module goes to them by value."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(include_dashboard=False, num_cpus=2, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


def _evaluate(
    fleet: Fleet, folder: Path, n: int = 24, batch_size: int = 2
) -> tuple[list[dict[str, Any]], EvalRecord]:
    out = folder / "out.jsonl"
    run(
        fleet, freeze([make_suite(n)]), RULES, out=out, cache=folder / "cache", arm="fleet",
        max_new_tokens=8, batch_size=batch_size,
    )  # fmt: skip
    return load_completions(out).rows, EvalRecord.load(record_path(out))


def test_two_workers_answer_every_prompt_exactly_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    make = partial(Logged, "aa", str(log), 0.05)
    with Fleet(make, "aa", 2) as fleet:
        rows, record = _evaluate(fleet, tmp_path)
        pids = fleet.pids
    lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert Counter(prompt for _, prompt in lines) == Counter(row["prompt"] for row in rows)
    assert len(lines) == 24
    assert {int(pid) for pid, _ in lines} == set(pids)
    assert all(row["response"] == f"answer to {row['prompt']}" for row in rows)
    assert record.environment == {"workers": "2", "workers_lost": "0"}
    assert (record.answers, record.verified) == (24, True)


def test_a_worker_killed_on_the_way_loses_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    make = partial(Logged, "aa", str(log), 0.2)
    with Fleet(make, "aa", 2) as fleet:
        victim = fleet.pids[0]

        def kill() -> None:
            while not log.exists():
                time.sleep(0.01)
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        rows, record = _evaluate(fleet, tmp_path)
        killer.join()
        assert victim not in fleet.pids
    assert record.environment["workers_lost"] == "1"
    assert len(rows) == record.answers == 24
    # The dead worker's batch is the only one that may have been worked on twice.
    done = Counter(line.split(" ", 1)[1] for line in log.read_text().splitlines())
    assert set(done) == {row["prompt"] for row in rows}
    assert sum(done.values()) <= 24 + 2
    lines = [json.loads(line) for line in (tmp_path / "cache").read_text().splitlines()]
    assert len(lines) == len({line["key"] for line in lines}) == 24


def test_a_worker_with_other_weights_stops_the_run(tmp_path: Path) -> None:
    with (
        pytest.raises(InvalidRun, match="other weights than the driver"),
        Fleet(partial(Logged, "bb", "", 0.0), "aa", 1) as fleet,
    ):
        _evaluate(fleet, tmp_path, n=2)


def test_what_a_worker_raises_arrives_as_it_was(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="prompt 1 is too long"),
        Fleet(partial(TooLong, "aa", "", 0.0), "aa", 1) as fleet,
    ):
        _evaluate(fleet, tmp_path, n=2)


def test_no_workers_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="workers"):
        Fleet(partial(Logged, "aa", "", 0.0), "aa", 0)
