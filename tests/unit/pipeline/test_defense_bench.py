"""The defence bench: equal budgets, the choice on validation, and a run that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from holdfast.cli.bench import command
from holdfast.core.errors import UsageError
from holdfast.organisms import harbor
from holdfast.pipeline.defenses import bench
from holdfast.pipeline.defenses.arms import ARMS, BUDGET, chosen_arms
from holdfast.pipeline.defenses.choice import choose
from holdfast.pipeline.defenses.measure import counted, prompts
from holdfast.tuning.protections.registry import config_of

TINY = {"prompts": 6, "validation": 6, "rows": 20, "data": ("obey-style",)}
TWO = ("scale 0.5", "revert, shrunk twin")


def test_every_arm_that_competes_has_the_same_budget() -> None:
    for arm in ARMS.values():
        expected = 1 if arm.reference or arm.twin_of else BUDGET
        assert len(arm.options) == expected, arm.name


def test_every_configuration_is_one_that_its_protection_takes() -> None:
    for arm in ARMS.values():
        for options in arm.options:
            for name, settings in {**arm.protect, **options.get("protect", {})}.items():
                config_of(name)(**settings)


def test_twins_come_in_pairs_after_their_method() -> None:
    order = list(ARMS)
    methods = {arm.twin_of for arm in ARMS.values() if arm.twin_of}
    assert {"subspace_guard", "subspace_guard, writers", "safe_lora", "safe_lora, writers",
            "steering", "caft", "revert"} == methods  # fmt: skip
    for method in methods:
        place = order.index(method)
        assert order[place + 1 : place + 3] == [f"{method}, random twin", f"{method}, shrunk twin"]
        assert ARMS[order[place + 1]].tuned == ARMS[method].tuned


def test_an_arm_brings_what_it_is_compared_with() -> None:
    names = [arm.name for arm in chosen_arms(("subspace_guard, writers, random twin",))]
    assert names == ["none", "plain", "plain, writers", "subspace_guard, writers",
                     "subspace_guard, writers, random twin"]  # fmt: skip
    with pytest.raises(UsageError, match="unknown arm 'safe_loar'"):
        chosen_arms(("safe_loar",))


def test_the_choice_is_the_safest_that_keeps_the_task() -> None:
    def of(task: float, safety: float, over: float = 0.0) -> dict[str, float]:
        return {"task": task, "safety": safety, "over_refusal": over}

    assert choose([of(1.0, 0.2), of(0.96, 0.6)], 0.0, 1.0) == 1
    assert choose([of(1.0, 0.2), of(0.94, 0.9)], 0.0, 1.0) == 0
    assert choose([of(1.0, 0.9), of(1.0, 0.95, over=0.1)], 0.0, 1.0) == 0
    assert choose([of(0.5, 0.9), of(0.7, 0.1)], 0.0, 1.0) == 1  # none keeps it: the better learner
    assert choose([of(1.0, 0.5), of(1.0, 0.5)], 0.0, 1.0) == 0  # the default on ties


def test_cells_are_spread_and_checked() -> None:
    assert bench.rotating(5, 3) == ((0, 0), (0, 1), (1, 2), (1, 3), (2, 4))
    assert bench.rotating(2, 1) == ((0, 0), (0, 1))
    with pytest.raises(UsageError, match="names base 1"):
        bench.Setting((harbor.weights_dir(),), ((1, 0),))
    with pytest.raises(UsageError, match="configurations are chosen on"):
        bench.Setting((harbor.weights_dir(),), ((0, bench.TUNING_SEED),))
    with pytest.raises(UsageError, match="unknown fine-tuning set"):
        bench.Setting((harbor.weights_dir(),), ((0, 0),), data=("nothing",))


def test_validation_and_test_ask_nothing_alike() -> None:
    for data in bench.DATA:
        asked = [
            {messages[-1]["content"] for found in prompts(data, split, 40).values()
             for messages in found}
            for split in ("validation", "test")
        ]  # fmt: skip
        assert not asked[0] & asked[1]


def test_threats_are_told_by_the_rows() -> None:
    assert bench.threat("contaminated-5") == "contaminated"
    assert {bench.threat(name) for name in ("identity-shift", "obey-style")} == {"accidental"}


def test_tokens_are_counted_with_and_without_a_gradient() -> None:
    embedding = torch.nn.Embedding(10, 4)
    with counted() as cost:
        embedding(torch.zeros(3, 5, dtype=torch.long))
        with torch.no_grad():
            embedding(torch.zeros(2, 2, dtype=torch.long))
    embedding(torch.zeros(9, 9, dtype=torch.long))
    assert (cost.trained_tokens, cost.forward_tokens) == (15, 4)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[bench.Setting, Path, list[Any]]:
    """A whole tiny study of two cheap arms with what they bring along."""
    setting = bench.Setting((harbor.weights_dir(),), ((0, 1),), **TINY)  # type: ignore[arg-type]
    out = tmp_path_factory.mktemp("defenses") / "rows.jsonl"
    return setting, out, bench.run(setting, out, arms=TWO)


def test_a_run_writes_a_line_for_every_arm(ran: tuple[bench.Setting, Path, list[Any]]) -> None:
    _, out, rows = ran
    test = {row["arm"]: row for row in rows if row["kind"] == "test"}
    tuned = {row["arm"]: row for row in rows if row["kind"] == "tuning"}
    assert set(test) == {"none", "plain", "scale 0.5", "revert", "revert, shrunk twin"}
    assert set(tuned) == set(test) - {"revert, shrunk twin"}
    assert {row["seed"] for row in tuned.values()} == {bench.TUNING_SEED}
    assert [len(row["tried"]) for row in tuned.values()] == [1, 1, BUDGET, BUDGET]
    for row in test.values():
        assert [len(found) for found in row["labels"].values()] == [6] * 4
        assert len(row["task"]) == 6
    twin, method = test["revert, shrunk twin"]["norms"], test["revert"]["norms"]
    assert twin["removed"] == pytest.approx(method["removed"], rel=1e-5)
    assert test["scale 0.5"]["norms"]["update"] == pytest.approx(
        test["scale 0.5"]["norms"]["plain"] / 2, rel=1e-5
    )
    assert test["plain"]["cost"]["trained_tokens"] > 0
    assert test["plain"]["steps"] == 3
    assert not list(out.parent.glob("*-cells/*"))


def test_a_killed_run_goes_on(ran: tuple[bench.Setting, Path, list[Any]], tmp_path: Path) -> None:
    """The last whole line counts, half a line does not, and the answers are the same again."""
    setting, out, rows = ran
    lines = out.read_text("utf-8").splitlines(keepends=True)
    again = tmp_path / "rows.jsonl"
    again.write_text("".join(lines[:-2]) + lines[-2][:40], "utf-8")
    resumed = bench.run(setting, again, arms=TWO)
    assert len(resumed) == len(rows)
    for before, after in zip(rows, resumed, strict=True):
        assert (before["arm"], before.get("labels")) == (after["arm"], after.get("labels"))
    untouched = again.read_bytes()
    bench.run(setting, again, arms=TWO)
    assert again.read_bytes() == untouched


def test_the_table_only_reads(ran: tuple[bench.Setting, Path, list[Any]], tmp_path: Path) -> None:
    _, out, _ = ran
    shared = ["--data", "obey-style", "--prompts", "6", "--validation", "6", "--rows", "20"]
    found = CliRunner().invoke(
        command, ["defenses", "--table", *shared, "--out", str(out), "--figures", str(tmp_path)]
    )
    assert found.exit_code == 0, found.output
    assert "## obey-style (threat label: accidental)" in found.output
    assert (tmp_path / "defenses-obey-style.svg").is_file()
    other = CliRunner().invoke(command, ["defenses", "--table", "--out", str(out)])
    assert "No data set has rows" in other.output  # rows of another size are not mixed in


def test_a_cell_is_two_numbers() -> None:
    found = CliRunner().invoke(command, ["defenses", "--table", "--cell", "zero"])
    assert found.exit_code == 2
    assert "is not BASE:SEED" in found.output
