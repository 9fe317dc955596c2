"""The journal: a chain that shows every change, and survives a process that dies while writing."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.core.errors import EnvironmentFault, IntegrityError
from holdfast.core.journal import GENESIS, REPAIRED, Journal


def _filled(path: Path, n: int = 5) -> Journal:
    journal = Journal(path)
    for i in range(n):
        journal.append("step", number=i)
    return journal


def test_entries_chain_and_survive_reopening(tmp_path):
    journal = _filled(tmp_path / "j.jsonl", 3)
    entries = Journal(journal.path).entries()
    assert [e.seq for e in entries] == [0, 1, 2]
    assert [e.prev for e in entries] == [GENESIS, entries[0].hash, entries[1].hash]
    assert entries == journal.entries()
    assert entries[0].time.endswith("+00:00")
    assert journal.verify() == 3


def test_a_missing_journal_is_empty_and_reading_makes_no_file(tmp_path):
    assert Journal(tmp_path / "none").entries() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (b'"number":1', b'"number":7', 2),
        (b'"event":"step"', b'"event":"stop"', 1),
        (b'{"event"', b' {"event"', 1),
    ],
)
def test_an_edit_is_named_by_its_line(tmp_path, old, new, line):
    path = _filled(tmp_path / "j.jsonl").path
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(IntegrityError, match=f"line {line} was changed"):
        Journal(path)


@pytest.mark.parametrize("removed", [0, 2])
def test_a_removed_or_swapped_line_breaks_the_chain(tmp_path, removed):
    path = _filled(tmp_path / "j.jsonl").path
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:removed] + lines[removed + 1 :]))
    with pytest.raises(IntegrityError, match=f"line {removed + 1} "):
        Journal(path)
    lines[1], lines[3] = lines[3], lines[1]
    path.write_bytes(b"".join(lines))
    with pytest.raises(IntegrityError, match="line 2 "):
        Journal(path)


def test_a_blank_or_deeply_nested_line_is_a_fault_and_not_a_crash(tmp_path):
    for hostile in (b"\n", b"[" * 100_000 + b"\n", b"null\n", b"\xff\n"):
        path = tmp_path / "j.jsonl"
        path.write_bytes(hostile)
        with pytest.raises(IntegrityError, match="line 1 "):
            Journal(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(tmp_path_factory, position, bit):
    path = _filled(tmp_path_factory.mktemp("j") / "j.jsonl", 3).path
    content = bytearray(path.read_bytes())
    content[position % (len(content) - 1)] ^= 1 << bit  # the last newline: see the torn line
    path.write_bytes(bytes(content))
    with pytest.raises(IntegrityError):
        Journal(path)


def test_a_torn_last_line_is_dropped_and_noted(tmp_path):
    path = _filled(tmp_path / "j.jsonl", 3).path
    whole = path.read_bytes()
    for cut in (1, 20, 100):
        path.write_bytes(whole[:-cut])
        journal = Journal(path)
        assert [e.seq for e in journal.entries()] == [0, 1]
        assert journal.torn > 0
        journal.append("after")
        events = [e.event for e in Journal(path).entries()]
        assert events == ["step", "step", REPAIRED, "after"]
        assert Journal(path).entries()[2].payload["dropped_bytes"] > 0


def test_shrinking_under_an_open_journal_is_found(tmp_path):
    journal = _filled(tmp_path / "j.jsonl", 3)
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join(lines[:2]))
    with pytest.raises(IntegrityError, match="shrunk"):
        journal.entries()
    with pytest.raises(IntegrityError, match="lost its last entries"):
        journal.verify()


def test_what_json_does_not_have_is_refused_before_the_file_is_touched(tmp_path):
    journal = _filled(tmp_path / "j.jsonl", 1)
    before = journal.path.read_bytes()
    for value in (float("nan"), float("inf"), "\ud800"):
        with pytest.raises(ValueError, match=r".+"):
            journal.append("bad", value=value)
    assert journal.path.read_bytes() == before


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path, monkeypatch):
    journal = _filled(tmp_path / "j.jsonl", 2)
    before = journal.path.read_bytes()
    real = os.write

    def half_then_full(fd, data):
        if len(data) > 40:
            return real(fd, bytes(data[:40]))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", lambda fd, data: half_then_full(fd, data[:41]))
    with pytest.raises(EnvironmentFault, match="disk is full"):
        journal.append("big", text="x" * 100)
    monkeypatch.undo()
    assert journal.path.read_bytes() != b""
    assert journal.path.read_bytes() == before
    journal.append("later")
    assert Journal(journal.path).verify() == 3


def test_two_journals_and_many_threads_share_one_file(tmp_path):
    path = tmp_path / "j.jsonl"

    def work(who: int) -> None:
        journal = Journal(path)
        for i in range(10):
            journal.append("step", who=who, i=i)
            journal.entries()

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = Journal(path).entries()
    assert len(entries) == 40
    assert sorted((e.payload["who"], e.payload["i"]) for e in entries) == [
        (who, i) for who in range(4) for i in range(10)
    ]


_APPENDER = """
import os, sys
from pathlib import Path
from holdfast.core.journal import Journal
journal = Journal(Path(sys.argv[1]))
acknowledged = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while True:
    entry = journal.append("step", text="x" * 4000)
    os.write(acknowledged, (entry.hash + "\\n").encode())
"""


def test_sigkill_at_random_moments_loses_no_acknowledged_entry(tmp_path):
    path, acknowledged = tmp_path / "j.jsonl", tmp_path / "acknowledged"
    chance = random.Random(0)
    for _ in range(6):
        before = acknowledged.stat().st_size if acknowledged.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", _APPENDER, path, acknowledged])
        try:
            deadline = time.monotonic() + 30
            while not acknowledged.exists() or acknowledged.stat().st_size == before:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(chance.random() * 0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    journal = Journal(path)
    hashes = {entry.hash for entry in journal.entries()}
    assert set(acknowledged.read_text().split()) <= hashes
    assert journal.verify() == len(hashes)


def test_a_line_is_one_json_object(tmp_path):
    path = _filled(tmp_path / "j.jsonl", 1).path
    assert sorted(json.loads(path.read_text())) == [
        "event", "hash", "payload", "prev", "seq", "time",
    ]  # fmt: skip
