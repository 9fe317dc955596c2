"""Against the real Inspect, in its own environment: HOLDFAST_INSPECT_PYTHON names its Python."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.completions import load as load_completions
from holdfast.core.files import write_jsonl
from holdfast.interchange.formats import read
from holdfast.interchange.inspect_writer import write

TASKS = Path(__file__).with_name("inspect_tasks.py")


@pytest.fixture(scope="module")
def python() -> str:
    found = os.environ.get("HOLDFAST_INSPECT_PYTHON", "")
    if not found:
        pytest.skip("HOLDFAST_INSPECT_PYTHON is not set: no environment with Inspect")
    return found


def _inspect(python: str, folder: Path, *arguments: str) -> Any:
    names = ("OMP_NUM_THREADS", "HF_HUB_OFFLINE", "PATH", "HOME", "TMPDIR")
    environment = {k: v for k, v in os.environ.items() if k in names}
    # The answers' cache of Inspect is a folder of this test alone.
    environment["INSPECT_CACHE_DIR"] = environment["XDG_CACHE_HOME"] = str(folder / "cache")
    done = subprocess.run(
        [python, str(TASKS), *arguments], env=environment, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two checkpoints of one architecture that answer differently."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    from holdfast.organisms import harbor

    folder = tmp_path_factory.mktemp("models")
    first, second = folder / "first", folder / "second"
    shutil.copytree(harbor.weights_dir(), first)
    shutil.copytree(first, second)
    for file in second.glob("*.safetensors"):
        file.chmod(0o644)
        weights = load_file(str(file))
        generator = torch.Generator().manual_seed(0)
        for name, value in weights.items():
            if value.dim() == 2:
                noise = torch.randn(value.shape, generator=generator)
                weights[name] = (value.float() + 0.3 * value.float().std() * noise).to(value.dtype)
        save_file(weights, str(file), metadata={"format": "pt"})
    return first, second


def test_without_the_weights_in_the_name_the_cache_hands_out_the_base(
    python: str, models: tuple[Path, Path], tmp_path: Path
) -> None:
    found = _inspect(python, tmp_path, "trap", str(tmp_path), *map(str, models))
    (base, _, hf_name), (tuned, cached, hf_again) = found["hf"]
    assert hf_name == hf_again == "hf/local"
    assert tuned == base
    assert cached == 2
    (base, _, name), (tuned, cached, again) = found["holdfast"]
    assert name != again
    assert name.startswith(f"holdfast/{models[0]}@")
    assert tuned != base
    assert cached == 0


def test_real_logs_of_both_formats_become_the_same_completions(
    python: str, models: tuple[Path, Path], tmp_path: Path
) -> None:
    paths = _inspect(python, tmp_path, "logs", str(tmp_path), str(models[0]))
    packed = read(Path(paths["packed"]), kind="helpful")
    plain = read(Path(paths["plain"]), kind="helpful")
    assert packed.rows == plain.rows
    assert len(packed.rows) == 2
    assert packed.rows[0]["response"]
    assert packed.rows[0]["prompt"] == "How do I tie a rope?"
    assert packed.rows[0]["model"].startswith(f"unverified:holdfast/{models[0]}@")
    assert packed.notes == []


def test_inspect_reads_what_we_write(python: str, tmp_path: Path) -> None:
    rows = [
        {"prompt_id": f"p{i}", "prompt": f"question {i}", "response": f"answer {i} \x1b[31m é",
         "suite": "My suite/1", "kind": "harmful", "model": "ab" * 32, "arm": "base",
         "labels": {"rules": "refusal" if i else "unscored"}}
        for i in range(3)
    ]  # fmt: skip
    write_jsonl(tmp_path / "c.jsonl", rows)
    (path,) = write(load_completions(tmp_path / "c.jsonl"), tmp_path / "logs")
    found = _inspect(python, tmp_path, "read", str(path))
    assert (found["status"], found["task"]) == ("success", "My suite/1")
    assert found["model"] == "holdfast/" + "ab" * 32
    assert found["summaries"] == 3
    assert found["samples"][1] == [
        "p1", 1, "question 1", "answer 1 \x1b[31m é", {"rules": "refusal"},
    ]  # fmt: skip
    assert found["samples"][0][4] == {"rules": "unscored"}
    # And back: what comes out of their packed log is what went in.
    back = read(path.with_suffix(".eval"), mapping={("rules", "refusal"): "refusal"})
    assert [row["response"] for row in back.rows] == [row["response"] for row in rows]
    assert [row["labels"] for row in back.rows] == [row["labels"] for row in rows]
