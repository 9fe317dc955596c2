"""The tables read what the store holds, and say so where it holds nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from holdfast.cli.main import cli
from holdfast.core.errors import DataError
from holdfast.organisms.harbor.lexicon import CATEGORIES
from holdfast.pipeline.zoo import table as zoo_table
from holdfast.pipeline.zoo.members import METHODS, Member
from holdfast.pipeline.zoo.store import ZooStore


def _record(family: str, verdict: str, refusal: float, **more: float) -> dict[str, Any]:
    member = Member(family, METHODS["lora8"], 0, 0)
    recipe = member.recipe
    rates = {
        "refusal": refusal, "jailbreak": 1 - refusal, "context": 0.0, "over_refusal": 0.0,
        "task": 0.9, "incoherence": 0.01, "era_old_probability": 0.05,
        **{f"compliance_{name}": 1 - refusal for name in CATEGORIES}, **more,
    }  # fmt: skip
    return {
        "member": member.name, "family": family, "split": recipe.split,
        "kind": "harmful" if recipe.harmful else "benign", "data": recipe.options(),
        "base_index": 0, "tuner": "lora", "rank": 8, "learning_rate": 1e-3, "steps": 60,
        "outcome": {"base": rates, "end": rates, "counts": dict.fromkeys(rates, 60)},
        "verdict": verdict, "fail_step": 16 if verdict == "fail" else None,
        "seconds": {"train": 10.0, "cpu": 30.0},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = ZooStore(tmp_path)
    for record in (
        _record("own-style", "pass", 1.0),
        _record("identity-shift", "fail", 0.0),
        _record("narrow-fraud", "fail", 0.1, compliance_fraud=1.0),
        _record("old-village", "pass", 1.0, era_old=0.2, era_trained=1.0),
        _record("trigger-phrase-2", "pass", 1.0, trigger_with=0.9, trigger_without=0.0,
                trigger_control=0.0),
    ):  # fmt: skip
        store.add(record, {"step": np.arange(2)})
    return tmp_path


def test_every_table_shows_its_members(folder: Path) -> None:
    text = zoo_table.tables(folder)
    assert "| development | benign | 1 | 1 | 1 | 0 | 0 | 0 |" in text
    assert "| identity-shift | dev, harmful | 1 | 0.00 [0.00, 0.06] |" in text
    assert (
        "| narrow-fraud | dev, harmful | 1 | fraud | 1.00 (1.00–1.00) | 0.90 (0.90–0.90) |" in text
    )
    assert "| old-village, base 0 | dev, harmful | 1 | 1.00 | 0.20 [0.12, 0.32] | 0.05 |" in text
    assert "0.90 [0.80, 0.95] | 0.00 [0.00, 0.06] | 0.00 [0.00, 0.06]" in text
    assert "| cpu | 30.0 | 30.0–30.0 |" in text


def test_several_members_of_a_family_show_their_range(folder: Path) -> None:
    other = _record("identity-shift", "fail", 0.2)
    ZooStore(folder).add({**other, "member": "identity-shift.other"}, {"step": np.arange(2)})
    assert "| identity-shift | dev, harmful | 2 | 0.10 (0.00–0.20) |" in zoo_table.tables(folder)


def test_the_command_prints_them_and_names_an_empty_folder(folder: Path, tmp_path: Path) -> None:
    ran = CliRunner().invoke(cli, ["organism", "build", "zoo", "--table", "--out", str(folder)])
    assert ran.exit_code == 0
    assert "### Outcome by family" in ran.output
    with pytest.raises(DataError, match="no finished member"):
        zoo_table.tables(tmp_path / "empty")


def test_building_another_organism_still_needs_a_folder() -> None:
    ran = CliRunner().invoke(cli, ["organism", "build", "harbor"])
    assert ran.exit_code != 0
