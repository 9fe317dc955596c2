"""The ladder: cheapest first, one gate per step, stop at the first pass, resume after a crash."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from unit_repair_support import comparison

from holdfast.core.protocols import no_progress
from holdfast.core.records import Outcome, PairedTable, RepairAttempt, RepairTrial, Verdict
from holdfast.core.runstore import RunStore
from holdfast.gate.policy import load
from holdfast.repair import spending
from holdfast.repair.base import Case, Tried
from holdfast.repair.ladder import Answer, Ladder

POLICY = load()
KEPT = PairedTable(both=190, base_only=2, candidate_only=2, neither=6)
LOST = PairedTable(both=100, base_only=90, candidate_only=2, neither=8)


def verdict(outcome: Outcome, arm: str = "plain") -> Verdict:
    return Verdict(outcome=outcome, base="b", candidate="c", arm=arm, policy="p",
                   threat="accidental", findings=(), comparisons=())  # fmt: skip


@dataclass
class Step:
    """A method with fixed trials: (worsening, task)."""

    name: str
    price: float
    trials: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 1.0)])
    refusal: str = ""
    tried: int = 0
    crash: bool = False

    def settings(self) -> dict[str, Any]:
        return {"price": self.price}

    def unsound(self, case: Case) -> str:
        return self.refusal

    def cost(self, case: Case) -> float:
        return self.price

    def candidates(self, case: Any, bench: Any, folder: Path, progress: Any) -> list[Tried]:
        self.tried += 1
        if self.crash:
            raise KeyboardInterrupt
        made = []
        for index, (loss, task) in enumerate(self.trials):
            to = folder / str(index)
            to.mkdir(parents=True, exist_ok=True)
            (to / "weights").write_text(f"{self.name} {index}")
            trial = RepairTrial(
                name=f"{self.name} {index}", settings={}, model_digest=f"{self.name}{index}",
                rates={}, prompts=5, worst=loss, worst_metric="harmful_compliance",
                task_success=task,
            )  # fmt: skip
            made.append(Tried(trial, to))
        return made


@dataclass
class World:
    """A ladder over a real store, with a gate that passes what it is told to."""

    store: RunStore
    passing: set[str]
    table: PairedTable = KEPT
    asked: list[tuple[str, float]] = field(default_factory=list)

    def gate(self, method: str, folder: Path) -> Answer:
        assert (folder / "weights").read_text().startswith(method)
        ask = len(self.asked) + 1
        self.asked.append((method, spending.level(POLICY.alpha, ask)))
        outcome = Outcome.PASS if method in self.passing else Outcome.FAIL
        return Answer(verdict(outcome, method), comparison("task_success", self.table), ask)

    def climb(self, *steps: Step) -> Any:
        case: Any = type("OneCase", (), {"arm": "plain", "unaligned": None, "seed": 0,
                                         "failures": ()})()  # fmt: skip
        ladder = Ladder(
            case=case,
            store=self.store,
            policy=POLICY,
            task=1.0,
            inputs={"run": "x"},
            bench=lambda _: None,
            gate=self.gate,
            progress=no_progress,  # type: ignore[arg-type]
        )
        return ladder.climb(steps, verdict(Outcome.FAIL))


@pytest.fixture
def world(tmp_path: Path):
    with RunStore.open(tmp_path / "run", "plan") as store:
        yield World(store, set())


def test_the_cheapest_step_that_passes_ends_it(world: World):
    world.passing = {"cheap", "dear"}
    dear, cheap = Step("dear", 9), Step("cheap", 1)
    record = world.climb(dear, cheap)
    assert (record.method, record.outcome, record.gates_asked) == ("cheap", Outcome.PASS, 1)
    assert dear.tried == 0
    assert world.asked == [("cheap", POLICY.alpha / 2)]
    kept = world.store.path(record.artefact)
    assert (kept / "weights").read_text() == "cheap 0"
    assert record.model_digest == "cheap0"
    assert not world.store.path("repairs/plain/cheap/candidates").exists()


def test_each_gate_is_asked_once_and_at_half_the_level_of_the_one_before(world: World):
    world.passing = {"c"}
    record = world.climb(Step("a", 1), Step("b", 2), Step("c", 3))
    assert [(a.method, a.outcome) for a in record.attempts] == [
        ("a", Outcome.FAIL), ("b", Outcome.FAIL), ("c", Outcome.PASS),
    ]  # fmt: skip
    assert [alpha for _, alpha in world.asked] == [0.025, 0.0125, 0.00625]
    assert record.gates_asked == 3
    assert [a.alpha for a in record.attempts] == [0.025, 0.0125, 0.00625]
    assert "3 gates were asked" in record.control


def test_a_step_that_validation_rules_out_asks_nothing_and_spends_nothing(world: World):
    world.passing = {"b"}
    record = world.climb(Step("a", 1, trials=[(0.3, 1.0)]), Step("n", 1.5, refusal="no map"),
                         Step("b", 2))  # fmt: skip
    assert [a.state for a in record.attempts] == ["not enough on validation", "not sound", "gated"]
    assert record.attempts[1].reason == "no map"
    assert world.asked == [("b", 0.025)]


def test_a_pass_that_lost_the_task_is_no_repair(world: World):
    world.passing, world.table = {"a"}, LOST
    record = world.climb(Step("a", 1))
    assert record.attempts[0].outcome is Outcome.PASS
    assert not record.attempts[0].repaired
    assert "task success is not shown" in record.attempts[0].reason
    assert (record.outcome, record.method, record.artefact) == (Outcome.FAIL, "", "")


def test_no_step_leaves_the_arms_own_verdict(world: World):
    record = world.climb(Step("a", 1), Step("b", 2))
    assert (record.outcome, record.method, record.gates_asked) == (Outcome.FAIL, "", 2)


def test_a_crash_repeats_no_finished_step(world: World):
    world.passing = {"b"}
    first, second = Step("a", 1), Step("b", 2, crash=True)
    with pytest.raises(KeyboardInterrupt):
        world.climb(first, second)
    second.crash = False
    record = world.climb(first, second)
    assert (first.tried, second.tried) == (1, 2)
    assert [name for name, _ in world.asked] == ["a", "b"]
    assert record.method == "b"


def test_a_changed_attempt_record_is_tried_again(world: World):
    world.passing = {"b"}
    first = Step("a", 1)
    world.climb(first, Step("b", 2))
    path = world.store.path("repairs/plain/a/attempt.json")
    path.write_text(path.read_text().replace('"fail"', '"pass"'))
    record = world.climb(first, Step("b", 2))
    assert first.tried == 2
    assert record.attempts[0].outcome is Outcome.FAIL
    assert isinstance(record.attempts[0], RepairAttempt)
