"""The store: finished means whole, claims exclude, a torn line is dropped."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from holdfast.core.errors import DataError
from holdfast.pipeline.zoo.store import FAILURES, MEMBERS, ZooStore

STREAMS = {"step": np.arange(3), "margin": np.ones((3, 4), dtype=np.float32)}


def test_a_member_comes_back_with_its_streams(tmp_path: Path) -> None:
    store = ZooStore(tmp_path)
    assert store.members() == []
    assert store.finished() == set()
    store.add({"member": "b", "x": 1}, STREAMS)
    store.add({"member": "a", "x": 2}, STREAMS)
    assert [row["member"] for row in store.members()] == ["a", "b"]
    found = store.stream("a")
    assert set(found) == set(STREAMS)
    assert np.array_equal(found["margin"], STREAMS["margin"])
    store.fail("c", "diverged")
    assert store.finished() == {"a", "b", "c"}
    assert json.loads((tmp_path / FAILURES).read_text())["reason"] == "diverged"


def test_a_line_that_a_kill_cut_off_is_dropped_by_the_next(tmp_path: Path) -> None:
    store = ZooStore(tmp_path)
    store.add({"member": "a"}, STREAMS)
    with (tmp_path / MEMBERS).open("a") as handle:
        handle.write('{"member": "b", "fam')
    store.add({"member": "c"}, STREAMS)
    assert [row["member"] for row in store.members()] == ["a", "c"]


def test_a_stream_is_never_unpickled(tmp_path: Path) -> None:
    store = ZooStore(tmp_path)
    (tmp_path / "streams").mkdir()
    np.savez(tmp_path / "streams" / "evil.npz", a=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="no archive of arrays"):
        store.stream("evil")
    with pytest.raises(DataError, match="no streams"):
        store.stream("missing")
    with pytest.raises(DataError, match="plain name"):
        store.stream("../outside")


def _try(folder: Path, answers: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    with ZooStore(folder).claim("a") as mine:
        answers.put(mine)


def test_a_claim_holds_against_another_process_and_ends_with_the_block(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    store = ZooStore(tmp_path)
    with store.claim("a") as mine, store.claim("b") as other:
        assert mine
        assert other
        child = context.Process(target=_try, args=(tmp_path, answers))
        child.start()
        child.join()
        assert answers.get(timeout=5) is False
    child = context.Process(target=_try, args=(tmp_path, answers))
    child.start()
    child.join()
    assert answers.get(timeout=5) is True
