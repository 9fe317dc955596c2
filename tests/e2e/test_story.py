"""The whole story once, killed in the middle of training and of evaluation, and read afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast.core.journal import Journal
from holdfast.vault.store import Vault

from .conftest import Cli, finished, write_plan


def start(plan: Path, out: Path, vault: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "holdfast", "run", str(plan), "--out", str(out)]
    return subprocess.Popen(
        [*command, "--vault", str(vault)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def kill_when(process: subprocess.Popen[str], sign: Path, *, grace: float = 0.0) -> bool:
    """SIGKILL the run as soon as `sign` exists; False where it ended before."""
    while process.poll() is None:
        if sign.exists():
            time.sleep(grace)
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.005)
    return False


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was killed twice on its way."""
    folder = tmp_path_factory.mktemp("story")
    plan, out, vault = write_plan(folder, model__sae="harbor"), folder / "run", folder / "vault"
    # In the middle of evaluation: the cache of answers is being written, no completions yet.
    assert kill_when(start(plan, out, vault), out / "answers.cache")
    before = finished(out)
    # In the middle of training: the first checkpoint of the first arm is whole or being made.
    assert kill_when(start(plan, out, vault), out / "arms" / "plain" / "resume")
    assert finished(out)[: len(before)] == before
    last = start(plan, out, vault)
    _, errors = last.communicate()
    assert last.returncode in (0, 1, 3), errors
    return out


def test_nothing_finished_was_done_twice(story: Path) -> None:
    names = finished(story)
    assert len(names) == len(set(names))
    assert Journal(story / "journal.jsonl").verify() == len(
        (story / "journal.jsonl").read_text("utf-8").splitlines()
    )


def test_every_record_of_the_story_is_there(story: Path) -> None:
    for name in (
        "plan.json", "run.json", "map/safety_map.json", "completions/base.jsonl",
        "completions/plain.jsonl", "completions/protected.jsonl", "arms/plain/training.json",
        "arms/protected/training.json", "verdicts/plain.json", "verdicts/protected.junit.xml",
        "verdicts/protected.md", "free_baselines.json", "policy.yaml", "report.html",
        "forecast.json",
    ):  # fmt: skip
        assert (story / name).is_file(), name
    drifts = sorted(p.name for p in (story / "arms" / "plain" / "drift").iterdir())
    assert drifts == ["step-2.json", "step-4.json"]


def test_the_arms_answered_the_same_prompts_with_other_weights(story: Path) -> None:
    arms = {}
    for arm in ("base", "plain", "protected"):
        lines = (story / "completions" / f"{arm}.jsonl").read_text("utf-8").splitlines()
        arms[arm] = [json.loads(line) for line in lines]
    asked = [[(row["suite"], row["prompt_id"]) for row in rows] for rows in arms.values()]
    assert asked[0] == asked[1] == asked[2]
    assert len({rows[0]["model"] for rows in arms.values()}) == 3


def test_the_protection_really_acted(story: Path) -> None:
    plain = json.loads((story / "arms" / "plain" / "training.json").read_text("utf-8"))
    protected = json.loads((story / "arms" / "protected" / "training.json").read_text("utf-8"))
    assert plain["protected_steps"] == 0
    assert protected["protected_steps"] > 0
    assert sum(choice["chosen"] for choice in protected["scales"]) == 1


def test_the_sae_of_the_base_served_audit_and_monitor(story: Path) -> None:
    audit = json.loads((story / "audit" / "audit.json").read_text("utf-8"))
    assert "spillover-alone" in {score["name"] for score in audit["scores"]}
    for arm in ("plain", "protected"):
        trajectory = json.loads((story / f"arms/{arm}/training.json").read_text())["trajectory"]
        seen = [point["latents"] for point in trajectory if point["latents"]]
        assert seen[0] == pytest.approx({"latents-lost": 0.0, "latents-risen": 0.0}, abs=1e-5)
        assert abs(seen[-1]["latents-lost"]) > 1e-4, arm
    assert "Harmful latents lost" in (story / "report.html").read_text("utf-8")


def test_running_it_again_does_nothing_and_says_the_same(story: Path, cli: Cli) -> None:
    before = (story / "journal.jsonl").read_text("utf-8")
    code, out, _ = cli(
        "run", story.parent / "plan.yaml", "--out", story, "--vault", story.parent / "vault",
        "--json",
    )  # fmt: skip
    verdicts = json.loads(out)["verdicts"]
    assert {v["outcome"] for v in verdicts.values()} <= {"pass", "fail", "inconclusive"}
    added = (story / "journal.jsonl").read_text("utf-8")[len(before) :].splitlines()
    assert [json.loads(line)["event"] for line in added] == ["run.resumed"]
    assert code in (0, 1, 3)


def test_the_gate_says_the_same_from_the_records_alone(story: Path, cli: Cli) -> None:
    _, out, _ = cli("gate", story, "--json")
    again = {verdict["arm"]: verdict["outcome"] for verdict in json.loads(out)}
    for arm, outcome in again.items():
        recorded = json.loads((story / "verdicts" / f"{arm}.json").read_text("utf-8"))
        assert recorded["outcome"] == outcome


def test_status_and_report_read_it(story: Path, cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("status", story)
    assert code == 0
    assert "journal intact" in out
    code, out, _ = cli("report", story, "--out", tmp_path / "r.html")
    assert code == 0
    assert "plain" in out


def test_the_forecast_came_first_and_stands_beside_what_happened(story: Path) -> None:
    names = finished(story)
    assert names.index("forecast.json") < names.index("arms/plain/training.json")
    found = json.loads((story / "forecast.json").read_text("utf-8"))
    assert found["calibrated"]
    assert {f["metric"] for f in found["forecasts"]} == {f["metric"] for f in found["protected"]}
    for told in found["forecasts"]:
        assert told["low"] <= told["expected"] <= told["high"]
    page = (story / "report.html").read_text("utf-8")
    assert "Forecast beside what happened" in page
    assert "The safety subspace at" in page


def test_only_what_passed_can_be_promoted(story: Path, cli: Cli) -> None:
    """A verdict of another outcome than PASS never moves a ref."""
    vault = story.parent / "vault"
    recorded = json.loads((story / "verdicts" / "plain.json").read_text("utf-8"))
    assert recorded["outcome"] != "pass", "twenty prompts cannot show non-inferiority"
    code, _, error = cli(
        "models", "promote", recorded["candidate"], "--ref", "production",
        "--verdict", story / "verdicts" / "plain.json", "--vault", vault,
    )  # fmt: skip
    assert code == 1
    assert "production" not in Vault(vault).refs()
    assert "pass" in error.lower()


def test_another_plan_may_not_use_the_folder(story: Path, cli: Cli, tmp_path: Path) -> None:
    code, _, error = cli("run", write_plan(tmp_path, seed=9), "--out", story)
    assert code == 2
    assert "another plan" in error
