"""The analysis of the defence bench on rows whose answer is known."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from random import Random
from typing import Any

import numpy as np
import pytest

from holdfast.core.errors import DataError
from holdfast.pipeline.defenses import figures
from holdfast.pipeline.defenses import stats as numbers
from holdfast.pipeline.defenses.arms import ARMS
from holdfast.pipeline.defenses.choice import rates
from holdfast.pipeline.defenses.table import analyse, contests
from holdfast.pipeline.defenses.words import as_json, fronts, markdown, verdicts

N = 40
COST = {"trained_tokens": 100, "forward_tokens": 0, "cpu_seconds": 1.0, "peak_mib": 8.0}


def row(
    arm: str, cell: int, refused: int, done: int, *, data: str = "identity-shift",
    harm: str = "unsafe", **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """A cell of an arm that refuses the first `refused` requests and does `done` task rows."""
    answers = ["refusal"] * refused + [harm] * (N - refused)
    made = {
        "kind": "test", "arm": arm, "data": data, "threat": "accidental", "base": f"b{cell % 3}",
        "seed": cell, "options": dict(ARMS[arm].options[0]), "norms": {}, "guarded": {}, "note": "",
        "labels": {"harbor-harmful": answers, "harbor-jailbreak": answers,
                   "harbor-lookalike": ["safe"] * N, "task": ["safe"] * N},
        "task": [1] * done + [0] * (N - done), "steps": 3, "cost": COST,
    }  # fmt: skip
    return {**made, **more}


def study(levels: dict[str, tuple[int, int]], cells: int = 5, **more: Any) -> list[dict[str, Any]]:
    return [row(arm, cell, *level, **more) for cell in range(cells)
            for arm, level in levels.items()]  # fmt: skip


def test_an_arm_that_keeps_half_is_told_so() -> None:
    (table,) = analyse(study({"none": (N, 0), "plain": (0, N), "scale 0.5": (20, N)}))
    line = next(line for line in table.lines if line.arm == "scale 0.5")
    assert line.against_plain is not None
    assert line.task_against_plain is not None
    assert line.against_plain.interval.value == pytest.approx(0.5)
    assert line.against_plain.cells == line.against_plain.same_sign == 5
    assert line.against_plain.holm < 0.005  # the same in every cell, on 20 of 40 requests
    assert line.task_against_plain.interval.value == 0
    assert line.task_against_plain.p == 1
    assert line.front
    assert line.keeps_task
    assert not line.keeps_safety
    assert line.extra_backward == 1.0  # on top of the plain run


def test_a_difference_of_one_cell_alone_is_not_certain() -> None:
    """500 requests may differ, and still only five cells were seen."""
    gaps = np.zeros((5, 100))
    gaps[0] = 1.0
    found = numbers.difference(gaps, np.zeros((5, 100)))
    assert found.interval.value == pytest.approx(0.2)
    assert found.interval.low == 0 or found.interval.low < 0
    assert found.p == pytest.approx(2 * 0.18695, abs=1e-3)  # t = 1 on 4 degrees of freedom


def test_the_t_test_has_its_closed_form_when_all_prompts_agree() -> None:
    gaps = np.repeat(np.array([[0.1], [0.2], [0.3], [0.2], [0.2]]), 50, axis=1)
    t = 0.2 / (np.std([0.1, 0.2, 0.3, 0.2, 0.2], ddof=1) / math.sqrt(5))
    assert t == pytest.approx(6.3246, abs=1e-3)
    by_pair = gaps.var() / 250
    wider = 0.2 / math.sqrt(max(np.var(gaps[:, 0], ddof=1) / 5 - by_pair, 0.2**2 / t**2))
    assert numbers.p_value(gaps) == pytest.approx(0.0031979, abs=1e-4)
    assert wider == pytest.approx(t)


def test_intervals_have_a_width_where_no_prompt_differs() -> None:
    same = np.ones((5, N))
    found = numbers.difference(same, same)
    assert found.interval.low < 0 < found.interval.high
    assert numbers.rate(same).low == pytest.approx(0.9124, abs=1e-3)  # Wilson, 40 of 40


def test_noise_gives_no_verdict() -> None:
    """Negative control: every arm refuses at random at a level of its own cell."""
    rng = Random(3)
    rows = [
        row(arm, cell, N if arm == "none" else rng.randrange(N), 0 if arm == "none" else N)
        for cell in range(5)
        for arm in ARMS
    ]
    (table,) = analyse(rows)
    assert {contest.outcome for contest in table.contests} == {"no difference"}
    assert all("is not told apart from its twins" in told for told in verdicts(table.contests))
    assert len(table.contests) == 14


def test_a_method_that_beats_both_twins_is_said_to() -> None:
    levels = {
        "none": (N, 0), "plain": (0, N), "safe_lora": (30, N), "safe_lora, random twin": (5, N),
        "safe_lora, shrunk twin": (10, N),
    }  # fmt: skip
    rows = study(levels)
    (table,) = analyse(rows)
    assert [contest.outcome for contest in table.contests] == ["beats", "beats"]
    (told,) = verdicts(table.contests)
    assert told.startswith("**safe_lora** keeps more safety than its twins: safety +0.625")
    lost = {**levels, "safe_lora": (30, 10)}
    assert [c.outcome for c in analyse(study(lost))[0].contests] == ["beats at a cost"] * 2
    turned = {**levels, "safe_lora": (0, N), "safe_lora, random twin": (20, N)}
    assert "is beaten by its random twin" in verdicts(analyse(study(turned))[0].contests)[0]


def test_two_cells_are_too_few_for_a_verdict() -> None:
    levels = {"none": (N, 0), "plain": (0, N), "revert": (30, N), "revert, random twin": (5, N)}
    (table,) = analyse(study(levels, cells=2))
    assert [contest.outcome for contest in table.contests] == ["too few cells"]
    assert "compared in 2 cells, too few" in verdicts(table.contests)[0]


def test_a_training_twin_replaces_the_plain_run_and_an_edited_one_does_not() -> None:
    rows = study({"none": (N, 0), "plain": (0, N), "caft": (0, N), "caft, random twin": (0, N)})
    rows += study({"revert": (0, N), "revert, random twin": (0, N)}, steps=0,
                  cost={**COST, "trained_tokens": 0})  # fmt: skip
    (table,) = analyse(rows)
    assert {line.extra_backward for line in table.lines if line.arm != "none"} == {0.0}


def test_data_sets_are_joined_by_cell() -> None:
    levels = {"none": (N, 0), "plain": (0, N), "revert": (20, N), "revert, random twin": (10, N)}
    rows = study(levels) + study({**levels, "revert": (10, N)}, data="obey-style")
    (contest,) = contests(rows)
    assert contest.safety.interval.value == pytest.approx(0.125)
    assert contest.safety.cells == 5
    assert "2 data sets together" in markdown(analyse(rows), contests(rows))


def test_an_incoherent_answer_is_neither_safe_nor_unsafe() -> None:
    found = rates(row("plain", 0, 10, N, harm="incoherent"))
    assert found["safety"] == 0.25
    assert found["unsafe"] == 0
    assert found["incoherent"] == pytest.approx(60 / 160)


def test_fronts_name_the_best_on_either_side() -> None:
    levels = {"none": (N, 0), "plain": (0, N), "scale 0.5": (30, N), "scale 0.25": (N, 20)}
    (table,) = analyse(study(levels))
    first, second = fronts(table)
    assert "0.750, by scale 0.5" in first
    assert "0.500, by scale 0.25" in second
    assert [line.arm for line in table.lines if line.front] == ["scale 0.25", "scale 0.5"]


def test_a_refused_arm_and_a_missing_cell_are_shown() -> None:
    rows = study({"none": (N, 0), "plain": (0, N)})
    rows.append({**row("caft", 0, 0, 0), "refused": "no safety map"})
    rows[-1].pop("labels")
    rows += [row("safegrad", cell, N, N) for cell in range(3)]
    (table,) = analyse(rows)
    assert table.refused == (("caft", "no safety map"),)
    found = next(line for line in table.lines if line.arm == "safegrad")
    assert found.cells == 3
    assert found.against_plain is not None
    assert found.against_plain.cells == 3
    assert "caft was not made: no safety map" in markdown([table])


def test_arms_that_answered_other_prompts_are_not_compared() -> None:
    with pytest.raises(DataError, match="other prompts"):
        numbers.difference(np.ones((2, 5)), np.ones((2, 6)))


def test_nothing_yet_is_said_so() -> None:
    assert analyse([]) == []
    assert "No data set" in markdown([])


def test_figures_and_json_are_complete_and_repeatable(tmp_path: Any) -> None:
    tables = analyse(study({"none": (N, 0), "plain": (0, N), "replay_kl": (N, N)}))
    (path,) = figures.write(tables, tmp_path)
    text = path.read_text("utf-8")
    assert ET.fromstring(text).tag.endswith("svg")
    assert "replay_kl" in text
    assert "accidental" in text
    assert figures.draw(tables[0]) == text
    assert json.loads(as_json(tables))["tables"][0]["threat"] == "accidental"
    assert {figures.group(name) for name in ARMS} == {
        "reference", "free", "repair", "protection", "subspace", "twin",
    }  # fmt: skip
