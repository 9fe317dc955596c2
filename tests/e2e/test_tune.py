"""Preference pairs, a 4-bit base, a rank search and a gated run, in one folder."""

from __future__ import annotations

import json
from pathlib import Path

from holdfast.vault.manifest import describe
from holdfast.vault.store import Vault

from .conftest import Cli, finished, write_plan


def test_search_then_run_go_on_in_one_folder(tmp_path: Path, cli: Cli) -> None:
    plan = write_plan(
        tmp_path, arms=["plain"], train__method="dpo", train__tuner="qlora", train__epochs=1,
        train__beta=0.1, train__task_target=0.5,
    )  # fmt: skip
    out, vault = tmp_path / "run", tmp_path / "vault"
    place = ("--out", out, "--vault", vault)
    code, said, _ = cli("tune", plan, "--search", "rank", "--highest", 2, "--json", *place)
    found = json.loads(said)
    assert [point["rank"] for point in found["points"]] == [1, 2]
    enough = [p["rank"] for p in found["points"] if p["task_success"] >= 0.5]
    assert found["chosen"] == (min(enough) if enough else None)
    assert code == (0 if enough else 1)
    assert any(point["frontier"] for point in found["points"])

    # Nothing is trained or asked again, and the table says the same.
    before = finished(out)
    again, table, _ = cli("tune", plan, "--search", "rank", "--highest", 2, *place)
    assert again == code
    assert "the base refuses" in table
    assert set(finished(out)[len(before) :]) <= {"search/rank.json"}

    code, said, _ = cli("run", plan, "--json", *place)
    verdict = json.loads(said)["verdicts"]["plain"]
    assert code in (0, 1, 3)
    # What is gated is what is deployed: the adapter on the arm's own NF4 base.
    arm = out / "arms" / "plain"
    deployed = describe(arm / "nf4", arm / "final")
    assert verdict["candidate"] == deployed.model_digest
    kinds = {entry.ref.kind for entry in Vault(vault).list()}
    assert kinds == {"base", "quantised", "adapter"}


def test_a_search_without_a_target_says_what_to_add(tmp_path: Path, cli: Cli) -> None:
    plan = write_plan(tmp_path, arms=["plain"])
    code, _, error = cli(
        "tune", plan, "--search", "rank", "--out", tmp_path / "r", "--vault", tmp_path / "v"
    )
    assert code == 2
    assert "train.task_target" in error
    assert not (tmp_path / "r" / "search").exists()
