"""The run store: what is finished stays finished, whatever kills the process."""

from __future__ import annotations

import collections
import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast.core.errors import EnvironmentFault, IntegrityError, UsageError
from holdfast.core.journal import Journal
from holdfast.core.records import DatasetRef, ModelRef
from holdfast.core.runstore import RunStore

PLAN = "a" * 64
RECORD = DatasetRef(
    name="d", data_digest="0" * 64, rows=3, columns=("messages",), template="messages",
    split="train",
)  # fmt: skip


def test_create_finish_resume_read(tmp_path):
    with RunStore.open(tmp_path / "run", PLAN) as store:
        assert not store.finished("plain/data.json", {"x": "1"})
        path = store.finish("plain/data.json", RECORD, {"x": "1"})
        assert path == tmp_path / "run/plain/data.json"
        assert store.finished("plain/data.json", {"x": "1"})
        assert not store.finished("plain/data.json", {"x": "2"})
        assert not store.finished("plain/data.json", {})
    with RunStore.open(tmp_path / "run", PLAN) as store:
        assert store.finished("plain/data.json", {"x": "1"})
        assert store.read("plain/data.json", DatasetRef) == RECORD
    events = [e.event for e in RunStore(tmp_path / "run").journal.entries()]
    assert events == ["run.opened", "run.finished", "run.resumed"]


def test_a_folder_is_a_product_and_any_change_in_it_counts(tmp_path):
    with RunStore.open(tmp_path / "run", PLAN) as store:
        folder = store.path("checkpoint-1")
        (folder / "sub").mkdir(parents=True)
        (folder / "a").write_text("one")
        (folder / "sub/b").write_text("two")
        store.finish("checkpoint-1", folder, {})
        assert store.finished("checkpoint-1", {})
        (folder / "sub/b").write_text("TWO")
        assert not store.finished("checkpoint-1", {})
        (folder / "sub/b").write_text("two")
        assert store.finished("checkpoint-1", {})
        (folder / "sub/b").rename(folder / "sub/c")
        assert not store.finished("checkpoint-1", {})
        (folder / "sub/c").rename(folder / "sub/b")
        (folder / "link").symlink_to("a")
        assert not store.finished("checkpoint-1", {})


def test_a_lost_or_damaged_record_is_not_finished_and_not_read(tmp_path):
    with RunStore.open(tmp_path / "run", PLAN) as store:
        path = store.finish("data.json", RECORD, {})
        path.write_text(path.read_text().replace('"rows": 3', '"rows": 4'))
        assert not store.finished("data.json", {})
        with pytest.raises(IntegrityError, match="data.json was changed"):
            store.read("data.json", DatasetRef)
        path.unlink()
        assert not store.finished("data.json", {})
        with pytest.raises(IntegrityError, match="is missing"):
            store.read("data.json", DatasetRef)


def test_reading_another_kind_of_record_is_a_fault(tmp_path):
    with RunStore.open(tmp_path / "run", PLAN) as store:
        store.write("data.json", RECORD)
        with pytest.raises(IntegrityError, match="ModelRef"):
            store.read("data.json", ModelRef)


def test_another_plan_in_the_same_folder_is_refused(tmp_path):
    RunStore.open(tmp_path, PLAN).close()
    with pytest.raises(UsageError, match="another plan"):
        RunStore.open(tmp_path, "b" * 64)
    RunStore.open(tmp_path, PLAN).close()  # and the refusal kept no lock


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UsageError, match="is no folder"):
        RunStore.open(tmp_path / "run", PLAN)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ".", "", "a\0b"])
def test_names_stay_inside_the_run(tmp_path, name):
    with RunStore.open(tmp_path / "run", PLAN) as store, pytest.raises(UsageError, match="out of"):
        store.path(name)


def test_a_link_out_of_the_run_is_no_way_out(tmp_path):
    with RunStore.open(tmp_path / "run", PLAN) as store:
        (tmp_path / "run/link").symlink_to(tmp_path)
        with pytest.raises(UsageError, match="leads out"):
            store.path("link/x")


def test_a_reader_cannot_write(tmp_path):
    RunStore.open(tmp_path, PLAN).close()
    reader = RunStore(tmp_path)
    assert reader.plan_digest == PLAN
    with pytest.raises(UsageError, match="not open for writing"):
        reader.finish("data.json", RECORD, {})


_HOLDER = """
import sys
from pathlib import Path
from holdfast.core.runstore import RunStore
store = RunStore.open(Path(sys.argv[1]), "a" * 64)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_told_who_holds_the_run(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match=f"in use by process {holder.pid}"):
            RunStore.open(tmp_path, PLAN)
        assert RunStore(tmp_path).plan_digest == PLAN  # reading is free
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    RunStore.open(tmp_path, PLAN).close()  # the kernel gave the lock back


def test_a_full_disk_while_finishing_loses_nothing_that_was_finished(tmp_path, monkeypatch):
    with RunStore.open(tmp_path, PLAN) as store:
        store.finish("a.json", RECORD, {})

        def full(fd):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(EnvironmentFault, match="disk is full"):
            store.finish("b.json", RECORD, {})
        monkeypatch.undo()
        assert store.finished("a.json", {})
        assert not store.finished("b.json", {})
        store.finish("b.json", RECORD, {})
        assert store.journal.verify() == 3


_WORKER = """
import os, sys
from pathlib import Path
from holdfast.core.runstore import RunStore
folder, log = Path(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
with RunStore.open(folder, "a" * 64) as store:
    for i in range(int(sys.argv[3])):
        name, inputs = f"part-{i}/out.txt", {"task": str(i)}
        if store.finished(name, inputs):
            continue
        path = store.path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(i) * 2000)
        store.finish(name, path, inputs)
        os.write(log, f"{i}\\n".encode())
"""


def test_sigkill_at_random_moments_then_resume(tmp_path):
    """Every task is finished exactly once, and what was acknowledged is never redone."""
    run, log, tasks = tmp_path / "run", tmp_path / "log", 60
    chance = random.Random(1)
    kills = 0
    for attempt in range(10):
        process = subprocess.Popen([sys.executable, "-c", _WORKER, run, log, str(tasks)])
        try:
            opened = 1 if attempt == 0 else len(Journal(run / "journal.jsonl").entries()) + 1
            deadline = time.monotonic() + 30
            while process.poll() is None and _lines(run / "journal.jsonl") < opened:
                assert time.monotonic() < deadline
                time.sleep(0.002)
            if attempt == 9:
                process.wait(timeout=60)
            time.sleep(chance.random() * 0.03)
        finally:
            kills += process.poll() is None
            process.send_signal(signal.SIGKILL)
            code = process.wait()
        done = RunStore(run)
        for i in map(int, log.read_text().split() if log.exists() else []):
            assert done.finished(f"part-{i}/out.txt", {"task": str(i)})
        if code == 0:
            break
    assert code == 0
    assert kills >= 2
    assert done.journal.verify() >= tasks + kills
    counts = collections.Counter(
        e.payload["name"] for e in done.journal.entries() if e.event == "run.finished"
    )
    assert counts == {f"part-{i}/out.txt": 1 for i in range(tasks)}


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
