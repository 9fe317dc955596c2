from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import UsageError
from holdfast.tuning import timing
from holdfast.tuning.schedule import Schedule


@given(cost=st.floats(0.001, 0.2), step_time=st.floats(0.05, 2.0), budget=st.floats(0.005, 0.2))
def test_the_dense_phase_counts_and_then_the_budget_holds_at_every_step(cost, step_time, budget):
    schedule, spent, seen = Schedule(budget=budget, dense=20), 0.0, []
    for step in range(1, 400):
        if schedule.due(step, step * step_time):
            schedule.observed(step, cost)
            seen.append(step)
            spent += cost
            if step > 20:
                assert spent <= budget * step * step_time + 1e-9
    assert seen[:20] == list(range(1, 21))
    if 22 * cost < budget * step_time * 399:
        assert len(seen) > 20  # spaced out, not switched off


def test_drifts_are_measured_every_fifth_dense_step_and_always_after():
    schedule = Schedule(dense=20)
    assert [s for s in range(1, 24) if schedule.explains(s)] == [5, 10, 15, 20, 21, 22, 23]
    assert all(Schedule(3).explains(s) for s in (3, 6, 9))


def test_a_fixed_interval_ignores_the_budget():
    schedule = Schedule(5)
    assert [s for s in range(1, 21) if schedule.due(s, 0.0)] == [5, 10, 15, 20]


@pytest.mark.parametrize("bad", [0, -1, "often", 1.5])
def test_a_bad_interval_is_refused(bad):
    with pytest.raises(UsageError, match="interval"):
        Schedule(bad)


def test_state_survives_a_checkpoint():
    first, second = Schedule(dense=2), Schedule(dense=2)
    for step in range(1, 5):
        first.due(step, step)
        first.observed(step, 0.5)
    second.restore(first.state())
    assert second.state() == first.state()
    assert second.due(5, 10.0) == first.due(5, 10.0)


def test_the_clock_books_parts_and_gives_the_rest_to_training(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    clock = timing.Clock()
    with clock.part("monitor"):
        now[0] += 5  # before the start: not training
    clock.start()
    now[0] += 10
    with clock.part("protection"):
        now[0] += 3
    clock.stop()
    assert clock.training == 10
    assert clock.parts == {"monitor": 5, "protection": 3}
    again = timing.Clock()
    again.restore(clock.state())
    again.start()
    now[0] += 1
    assert again.training == 11
