"""A small real run on the embedded model: real training, real generation, real verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.cli.main import main

Cli = Callable[..., tuple[int, str, str]]


def small_plan(**changes: Any) -> dict[str, Any]:
    """The harbor plan with few rows and few prompts; `a__b=value` changes plan[a][b]."""
    text = resources.files("holdfast.pipeline.plans").joinpath("harbor.yaml").read_text("utf-8")
    plan: dict[str, Any] = yaml.safe_load(text)
    plan["name"] = "small"
    plan["data"] |= {"rows": 40, "held_out": 12, "validation": 10}
    # Four steps must change some answer: arms that answer alike are INVALID.
    plan["train"] |= {"epochs": 2, "learning_rate": 4.0e-3}
    plan["protect"] |= {"options": {"buffer": 12}, "scales": [1.0, 0.9]}
    plan["monitor"] = {"dense": 2, "probes": 6}
    plan["evaluate"] |= {
        "suites": [{"spec": "harbor-harmful"}, {"spec": "harbor-lookalike"}],
        "per_suite": 20,
        "per_epoch": 10,
        "max_new_tokens": 32,
    }
    for dotted, value in changes.items():
        place = plan
        *parents, last = dotted.split("__")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return plan


def write_plan(folder: Path, **changes: Any) -> Path:
    """Write a small plan into `folder`."""
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(small_plan(**changes)), encoding="utf-8")
    return path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run the command line in this process: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in arguments])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return call


def finished(folder: Path) -> list[str]:
    """Names that the journal calls finished, in order, repetitions included."""
    lines = (folder / "journal.jsonl").read_text("utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return [e["payload"]["name"] for e in entries if e["event"] == "run.finished"]
