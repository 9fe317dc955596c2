"""Weight files: what the reference writer makes is accepted, what is wrong is refused by name."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from holdfast.core.errors import IntegrityError
from holdfast.vault.safetensors_check import check, check_index


def _raw(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def _tensor(begin: int, end: int, shape: list[int] | None = None, dtype: str = "U8") -> dict:
    return {"dtype": dtype, "shape": shape or [end - begin], "data_offsets": [begin, end]}


def test_what_the_reference_writes_is_accepted(tmp_path):
    tensors = {
        "x": np.ones((3, 2), np.float32), "empty": np.ones((0, 4), np.int64),
        "scalar": np.array(1.0, np.float64), "é": np.ones(5, np.bool_),
    }  # fmt: skip
    path = tmp_path / "m.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    found = check(path)
    assert {name: t.shape for name, t in found.items()} == {n: a.shape for n, a in tensors.items()}
    data = path.read_bytes()
    assert data[found["x"].begin : found["x"].end] == tensors["x"].tobytes()


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        ({"a": _tensor(0, 4)}, b"123", "truncated"),
        ({"a": _tensor(0, 4)}, b"12345", "1 bytes that no tensor owns"),
        ({"a": _tensor(0, 4), "b": _tensor(3, 6)}, b"123456", "'b' overlap"),
        ({"a": _tensor(0, 2), "b": _tensor(3, 6)}, b"123456", "gap before tensor 'b'"),
        ({"a": _tensor(1, 4)}, b"1234", "gap before tensor 'a'"),
        ({"a": _tensor(4, 0, [4])}, b"1234", "bad offsets"),
        ({"a": _tensor(-4, 0, [4])}, b"1234", "bad offsets"),
        ({"a": _tensor(0, 4, [2])}, b"1234", "4 bytes; expected 2 bytes"),
        ({"a": _tensor(0, 4, [1], "F64")}, b"1234", "expected 8 bytes for F64"),
        ({"a": _tensor(0, 4, [4], "OBJECT")}, b"1234", "dtype 'OBJECT'"),
        ({"a": _tensor(0, 4, [-2, -2])}, b"1234", "bad shape"),
        ({"a": _tensor(0, 4, [4.0])}, b"1234", "bad shape"),
        ({"a": _tensor(0, 1, [True])}, b"1", "bad shape"),
        ({"a": _tensor(0, 4, [1 << 62, 1 << 62])}, b"1234", "bad shape"),
        ({"a": _tensor(0, 1, [1] * 65)}, b"1", "bad shape"),
        ({"a": {"dtype": "U8", "shape": [1]}}, b"1", "describes tensor 'a' wrongly"),
        ({"a": [1]}, b"", "describes tensor 'a' wrongly"),
        ({"__metadata__": {"a": 1}}, b"", "__metadata__"),
        ([1], b"", "list as header"),
        (b"{", b"", "unreadable header"),
        (b"\xff\xfe", b"", "unreadable header"),
        (b'{"a": NaN}', b"", "unreadable header"),
        (b"[" * 100_000, b"", "unreadable header"),
        (b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
         b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1", "a key stands twice"),
        (b'{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', b"1", "twice"),
    ],
)  # fmt: skip
def test_an_inconsistent_file_is_refused_and_named(tmp_path, header, data, words):
    path = _raw(tmp_path / "bad.safetensors", header, data)
    with pytest.raises(IntegrityError, match=words) as caught:
        check(path)
    assert "bad.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("length", "words"),
    [(100_000_001, "claims a header"), (1 << 63, "claims a header"), (99, "inside its header")],
)
def test_a_header_length_is_bounded_before_it_is_read(tmp_path, length, words):
    with pytest.raises(IntegrityError, match=words):
        check(_raw(tmp_path / "bomb.safetensors", {}, length=length))


def test_a_file_without_a_header_is_refused(tmp_path):
    (tmp_path / "m").write_bytes(b"1234567")
    with pytest.raises(IntegrityError, match="too short"):
        check(tmp_path / "m")


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_damaged_header_never_crashes_and_agrees_with_the_reference(
    tmp_path_factory, position, byte
):
    """Whatever we accept, the reference reader accepts too."""
    path = tmp_path_factory.mktemp("m") / "m.safetensors"
    save_file({"a": np.ones((2, 2), np.float32), "b": np.ones(3, np.int8)}, path)
    content = bytearray(path.read_bytes())
    content[position % (len(content) - 19)] = byte
    path.write_bytes(bytes(content))
    try:
        found = check(path)
    except IntegrityError:
        return
    with safe_open(path, "numpy") as handle:
        assert set(handle.keys()) == set(found)


@pytest.fixture
def sharded(tmp_path):
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "model-1.safetensors")
    save_file({"b": np.ones(2, np.float32)}, tmp_path / "model-2.safetensors")
    return tmp_path / "model.safetensors.index.json"


def test_a_true_index_is_accepted(sharded):
    sharded.write_text(
        json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    )
    check_index(sharded)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"a": "../model-1.safetensors"}, "expected the name of a file"),
        ({"a": "/etc/passwd"}, "expected the name of a file"),
        ({"a": "sub/model-1.safetensors"}, "expected the name of a file"),
        ({"a": "..\\model-1.safetensors"}, "expected the name of a file"),
        ({"a": "pytorch_model.bin"}, "expected the name of a file"),
        ({"a": 3}, "expected the name of a file"),
        ({"a": "model-3.safetensors"}, "model-3.safetensors, which is missing"),
        ({"a": "model-2.safetensors"}, "looks for 'a'"),
        ({}, "no weight_map"),
        ([], "no weight_map"),
    ],
)
def test_an_index_that_lies_is_refused(sharded, mapping, words):
    sharded.write_text(json.dumps({"weight_map": mapping}))
    with pytest.raises(IntegrityError, match=words):
        check_index(sharded)
