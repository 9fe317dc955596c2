"""Bad input ends in one clear sentence with the right exit code, before anything is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.core import files
from holdfast.geometry.sae.autoencoder import SparseAutoencoder
from holdfast.geometry.sae.read import write
from holdfast.organisms import harbor

from .conftest import Cli, write_plan

ROW = {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]}


def one_sentence(error: str) -> bool:
    """Whether the last thing said is our own single sentence, without a traceback."""
    said = [line for line in error.splitlines() if line.startswith("holdfast: ")]
    return len(said) == 1 and "Traceback" not in error and said[0].endswith(".")


def test_an_empty_data_set(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "rows.jsonl").write_text("")
    plan = write_plan(tmp_path, data__source="rows.jsonl")
    code, _, error = cli("run", plan, "--out", tmp_path / "run", "--vault", tmp_path / "vault")
    assert (code, one_sentence(error)) == (2, True), error


def test_rows_without_the_needed_columns(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    plan = write_plan(tmp_path, data__source="rows.jsonl")
    code, _, error = cli("run", plan, "--out", tmp_path / "run", "--vault", tmp_path / "vault")
    assert (code, one_sentence(error)) == (2, True), error
    assert "columns" in error


def test_a_prompt_longer_than_the_context(tmp_path: Path, cli: Cli) -> None:
    rows = [{"prompt_id": "long", "prompt": "word " * 3000}]
    files.write_jsonl(tmp_path / "suite.jsonl", rows)
    code, _, error = cli(
        "eval", harbor.weights_dir(), "--suite", tmp_path / "suite.jsonl", "--kind", "benign",
        "--out", tmp_path / "out.jsonl",
    )  # fmt: skip
    assert (code, one_sentence(error)) == (2, True), error
    assert "context" in error


def test_a_corrupted_checkpoint(tmp_path: Path, cli: Cli) -> None:
    model = tmp_path / "model"
    shutil.copytree(harbor.weights_dir(), model)
    weights = model / "model.safetensors"
    os.chmod(weights, 0o644)
    weights.write_bytes(weights.read_bytes()[:-1000])
    plan = write_plan(tmp_path, model__source="model")
    code, _, error = cli("run", plan, "--out", tmp_path / "run", "--vault", tmp_path / "vault")
    assert (code, one_sentence(error)) == (1, True), error
    assert "model.safetensors" in error


def test_an_sae_that_is_not_of_the_base(tmp_path: Path, cli: Cli) -> None:
    """Refused before any training: too narrow, and no SAE at all."""
    narrow = SparseAutoencoder(
        torch.eye(8), torch.zeros(8), torch.eye(8), torch.zeros(8), "relu", site="resid_post.1"
    )
    write(narrow, tmp_path / "narrow")
    (tmp_path / "none").mkdir()
    for name, part in (("narrow", "width 8"), ("none", "none")):
        plan = write_plan(tmp_path, model__sae=name)
        code, _, error = cli("run", plan, "--out", tmp_path / name, "--vault", tmp_path / "vault")
        assert (code, one_sentence(error)) == (2, True), error
        assert part in error
        assert not (tmp_path / name / "arms").exists()


def test_an_unknown_judge(tmp_path: Path, cli: Cli) -> None:
    plan = write_plan(tmp_path, evaluate__judge="rulez")
    code, _, error = cli("run", plan, "--out", tmp_path / "run", "--vault", tmp_path / "vault")
    assert (code, one_sentence(error)) == (2, True), error
    assert "'rules'" in error


def completions(path: Path, label: str) -> Path:
    rows: list[dict[str, Any]] = [
        {"prompt_id": str(i), "response": f"{label} {i}", "kind": "harmful", "labels": {"j": label}}
        for i in range(200)
    ]
    files.write_jsonl(path, rows)
    return path


def test_a_policy_that_names_a_metric_that_was_not_measured(tmp_path: Path, cli: Cli) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "metrics:\n  harmful_compliance: {margin: 0.05}\n  over_refusal: {margin: 0.05}\n"
    )
    base = completions(tmp_path / "a.jsonl", "refusal")
    rows = files.read_jsonl(base)
    candidate = tmp_path / "b.jsonl"
    files.write_jsonl(candidate, [{**row, "response": "No. " + row["response"]} for row in rows])
    code, out, _ = cli("gate", "--base", base, "--candidate", candidate, "--policy", policy)
    assert code == 3
    assert "over_refusal" in out


def test_a_policy_that_names_no_metric_at_all(tmp_path: Path, cli: Cli) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("metrics:\n  harmful_complaince: {margin: 0.05}\n")
    base = completions(tmp_path / "a.jsonl", "refusal")
    code, _, error = cli("gate", "--base", base, "--candidate", base, "--policy", policy)
    assert code == 2
    assert "harmful_compliance" in error


def test_a_full_disk(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = write_plan(tmp_path)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    code, _, error = cli("run", plan, "--out", tmp_path / "run", "--vault", tmp_path / "vault")
    assert (code, one_sentence(error)) == (4, True), error
    assert "disk is full" in error


def test_ctrl_c_keeps_what_is_finished_and_says_so(tmp_path: Path) -> None:
    plan, out = write_plan(tmp_path), tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast.cli.main", "run", str(plan), "--out", str(out),
         "--vault", str(tmp_path / "vault")],
        stderr=subprocess.PIPE, text=True,
        # A test run in the background inherits an ignored SIGINT; a terminal's program does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while process.poll() is None and not (out / "plans" / "full.json").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130, error
    assert "same command continues" in error
    assert "Traceback" not in error
    entries = [json.loads(x) for x in (out / "journal.jsonl").read_text("utf-8").splitlines()]
    assert any(e["payload"].get("name") == "base" for e in entries)
