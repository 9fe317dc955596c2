"""`holdfast repair` on runs that cannot be repaired: one clear sentence each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from holdfast.cli.main import cli
from holdfast.core.errors import (
    ConfigError,
    DataError,
    HoldfastError,
    IntegrityError,
    RefusedError,
    UsageError,
)
from holdfast.core.files import write_text
from holdfast.core.records import Finding, Outcome, Verdict
from holdfast.core.runstore import RunStore
from holdfast.pipeline.plan import Plan
from holdfast.pipeline.quickstart import quickstart_plan
from holdfast.pipeline.repair import repair

FAILED = Finding(
    code="GATE001", severity="blocking", title="t", message="m", metric="harmful_compliance"
)
INELIGIBLE = Finding(code="GATE013", severity="blocking", title="t", message="m")


def verdict(arm: str, outcome: Outcome, *findings: Finding) -> Verdict:
    return Verdict(outcome=outcome, base="b", candidate="c", arm=arm, policy="p",
                   threat="accidental", findings=findings, comparisons=())  # fmt: skip


@pytest.fixture
def a_run(tmp_path: Path) -> Callable[..., Path]:
    """A run folder with a plan and verdicts, as `holdfast run` leaves them."""

    def build(*verdicts: Verdict, plan: Plan | None = None) -> Path:
        made = plan or quickstart_plan()
        folder = tmp_path / "run"
        with RunStore.open(folder, made.digest()) as store:
            write_text(store.path("plan.json"), made.model_dump_json(indent=1) + "\n")
            for one in verdicts:
                store.finish(f"verdicts/{one.arm}.json", one, {})
        return folder

    return build


def test_a_run_that_passed_has_nothing_to_repair(a_run):
    folder = a_run(verdict("plain", Outcome.PASS), verdict("protected", Outcome.PASS))
    assert repair(folder) is None
    told = CliRunner().invoke(cli, ["repair", str(folder)], standalone_mode=False)
    assert told.return_value == 0
    assert told.output.strip() == "Nothing to repair: the gate passed every arm."
    as_json = CliRunner().invoke(cli, ["repair", str(folder), "--json"], standalone_mode=False)
    assert json.loads(as_json.output) is None


def refused(kind: type[HoldfastError], message: str, folder: Path, **more) -> str:
    with pytest.raises(kind, match=message) as caught:
        repair(folder, **more)
    assert "\n" not in str(caught.value) or kind is ConfigError
    return str(caught.value)


def test_no_run(tmp_path: Path):
    refused(UsageError, "holds no run", tmp_path)


def test_an_unfinished_run(a_run):
    folder = a_run(verdict("protected", Outcome.PASS))
    text = refused(UsageError, "is not finished: 'plain' has no verdict", folder)
    assert "holdfast run" in text


def test_an_unknown_arm_or_method(a_run):
    folder = a_run(verdict("plain", Outcome.FAIL, FAILED))
    refused(UsageError, "has no arm 'plane'", folder, arm="plane")
    refused(UsageError, "did you mean 'scaling'", folder, arm="plain", methods=["scalin"])
    refused(UsageError, "is no model folder", folder, arm="plain", unaligned=folder / "nowhere")


def test_several_failed_arms(a_run):
    folder = a_run(
        verdict("plain", Outcome.FAIL, FAILED), verdict("protected", Outcome.FAIL, FAILED)
    )
    refused(UsageError, "2 arms did not pass: plain, protected; name the one", folder)


def test_a_changed_plan(a_run):
    folder = a_run(verdict("plain", Outcome.FAIL, FAILED))
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**plan, "seed": 9}))
    refused(IntegrityError, "is not the plan that the run was opened with", folder)
    (folder / "plan.json").write_text("{")
    refused(IntegrityError, "is not JSON", folder)


def test_a_changed_verdict(a_run):
    folder = a_run(verdict("plain", Outcome.PASS), verdict("protected", Outcome.PASS))
    path = folder / "verdicts" / "plain.json"
    path.write_text(path.read_text().replace("pass", "fail"))
    refused(IntegrityError, "was changed after it was finished", folder)


def test_a_changed_journal(a_run):
    folder = a_run(verdict("plain", Outcome.FAIL, FAILED))
    path = folder / "journal.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0].replace('"seq":0', '"seq":7'), *lines[1:]]) + "\n")
    refused(IntegrityError, "journal", folder, arm="plain")


def test_a_base_that_was_not_eligible(a_run):
    folder = a_run(verdict("plain", Outcome.INCONCLUSIVE, INELIGIBLE))
    refused(RefusedError, "there is nothing to restore", folder, arm="plain")


def test_an_invalid_verdict(a_run):
    folder = a_run(verdict("plain", Outcome.INVALID))
    refused(RefusedError, "INVALID", folder, arm="plain")


def test_a_missing_safety_buffer(a_run, tmp_path: Path):
    plan = quickstart_plan()
    moved = plan.map.model_copy(update={"replay": str(tmp_path / "gone.jsonl")})
    folder = a_run(
        verdict("plain", Outcome.FAIL, FAILED), plan=plan.model_copy(update={"map": moved})
    )
    text = refused(DataError, r"safety buffer .*gone\.jsonl of this run is missing", folder,
                   arm="plain")  # fmt: skip
    assert "put it back" in text


def test_a_run_without_its_models(a_run):
    from unit_repair_support import comparison

    from holdfast.core.records import PairedTable
    from holdfast.gate.decide import decide
    from holdfast.gate.policy import load

    table = PairedTable(both=0, base_only=0, candidate_only=50, neither=50)
    failed = decide(
        [comparison("harmful_compliance", table)], load(), base="b", candidate="c", arm="plain"
    )
    folder = a_run(failed)
    refused(IntegrityError, r"run\.json is missing or unreadable", folder, arm="plain")
