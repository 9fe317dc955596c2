"""Streams: zero on the base, blind to the future, closed forms, and the score made of them."""

from __future__ import annotations

from dataclasses import fields, replace
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import DataError, UsageError
from holdfast.stats.detectors import Reference
from holdfast.tuning.monitors import combined, gradients, margins, plain, residual
from holdfast.tuning.monitors.combined import Case
from holdfast.tuning.monitors.parameters import SHIPPED, MonitorParameters
from holdfast.tuning.monitors.readings import Readings
from holdfast.tuning.monitors.registry import STREAMS, get
from holdfast.tuning.monitors.stream import held, lost
from holdfast.tuning.monitors.watch import Watch

T, P, D, R = 9, 6, 8, 3


def readings(seed: int = 0, t: int = T) -> Readings:
    rng = np.random.default_rng(seed)
    shift = rng.normal(size=(t, 2, D))
    shift[0] = 0
    direction = np.eye(D)[0]
    drift = {name: np.append(0.0, rng.normal(size=t - 1)) for name in (
        "direction_collapse", "interference_growth", "subspace_rotation")}  # fmt: skip
    kl = rng.random((t, P))
    kl[0] = 0
    alignment = rng.uniform(-1, 1, t)
    alignment[-1] = np.nan
    latents = rng.uniform(1, 2, (t, 2))
    return Readings(
        steps=np.arange(t) * 2, margin=rng.normal(5, 4, (t, P)),
        margin_ablated=rng.normal(0, 2, (t, P)), kl_first=kl, drifts=drift, shift=shift,
        direction=direction, random_directions=np.linalg.qr(rng.normal(size=(D, R)))[0].T,
        latents=latents, latents_random=rng.random((R, t, 2)),
        loss=rng.uniform(0.1, 2, t), grad_norm=rng.random(t), alignment=alignment,
        alignment_harmless=rng.uniform(-1, 1, t), alignment_random=rng.uniform(-1, 1, (t, R)),
        cheap_refusal=(rng.random((t, 8)) > 0.3).astype(float),
        behaviour=np.where(np.arange(t)[:, None] % 3, np.nan, (rng.random((t, 20)) > 0.3)),
    )  # fmt: skip


def until(whole: Readings, t: int) -> Readings:
    """The readings as they were after `t` observations."""
    cut = {}
    for field in fields(whole):
        value = getattr(whole, field.name)
        if isinstance(value, dict):
            value = {name: series[..., :t] for name, series in value.items()}
        elif field.name == "latents_random" and value is not None:
            value = value[:, :t]
        elif value is not None and field.name not in ("direction", "random_directions"):
            value = value[:t]
        cut[field.name] = value
    return Readings(**cut)


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_no_stream_sees_the_future(seed: int) -> None:
    whole = readings(seed)
    for name, stream in STREAMS.items():
        full = stream.compute(whole)
        assert full.shape == (T,), name
        assert np.isfinite(full).all(), name
        for t in range(2, T + 1):
            now = stream.compute(until(whole, t))
            assert now[-1] == pytest.approx(full[t - 1], abs=1e-9), (name, t)


def test_every_stream_but_the_coming_batch_is_zero_on_the_base() -> None:
    for name, stream in STREAMS.items():
        if not name.startswith("alignment") or name == "alignment-sum":
            assert stream.compute(readings())[0] == pytest.approx(0.0), name


def test_twins_have_the_shape_of_random_directions() -> None:
    for name, stream in STREAMS.items():
        if stream.twins is not None and "drifts" not in stream.needs:
            made = stream.twins(readings())
            assert made is not None
            assert made.shape == (R, T), name
    bare = replace(readings(), random_directions=None, alignment_random=None, latents_random=None)
    assert all(s.twins is None or s.twins(bare) is None for s in STREAMS.values())


def test_shares_of_margin_closed_form() -> None:
    margin = np.array([[10.0, 6.0], [5.0, 3.0], [-5.0, -3.0]])
    found = Readings(steps=np.array([0, 1, 2]), margin=margin)
    assert margins.mean_lost(found) == pytest.approx([0.0, 0.5, 1.5])
    assert margins.negative_share(found) == pytest.approx([0.0, 0.0, 1.0])
    assert lost(np.array([[0.1], [0.0]]))[1] == pytest.approx([0.1])  # never over a tiny base


def test_harmful_latents_are_shares_of_what_the_base_shows_on_harmful_prompts() -> None:
    shown = np.array([[4.0, 1.0], [3.0, 1.0], [0.0, 3.0]])
    drawn = np.array([[[2.0, 2.0], [2.0, 0.0], [0.0, 4.0]]])
    found = Readings(steps=np.arange(3), latents=shown, latents_random=drawn)
    assert get("latents-lost").compute(found) == pytest.approx([0.0, 0.25, 1.0])
    assert get("latents-risen").compute(found) == pytest.approx([0.0, 0.0, 0.5])
    twins = {name: get(name).twins for name in ("latents-lost", "latents-risen")}
    assert all(twins.values())
    made = {name: twin(found) for name, twin in twins.items() if twin is not None}
    assert made["latents-lost"] == pytest.approx(np.array([[0.0, 0.0, 0.5]]))
    assert made["latents-risen"] == pytest.approx(np.array([[0.0, -0.5, 0.5]]))


def test_crossing_sees_a_parabola_before_it_crosses() -> None:
    """m(t) = 10 - t^2/4 is below zero from t = 6.3 on; on a horizon of 8 it is seen at once."""
    steps = np.arange(0, 7)
    falling = Readings(steps=steps, margin=np.stack([10 - steps**2 / 4] * 3, 1))
    settling = Readings(steps=steps, margin=np.stack([4 + 6 * np.exp(-steps / 3)] * 3, 1))
    assert margins.crossing(falling)[4] > 0.5
    assert margins.crossing(falling)[-1] > margins.crossing(falling)[4]
    assert margins.crossing(settling)[-1] == 0.0
    gone = Readings(steps=np.arange(2), margin=np.array([[1.0], [-1.0]]))
    assert margins.crossing(gone)[-1] == 1.0


def test_sums_weigh_an_update_by_the_steps_it_stands_for() -> None:
    found = Readings(
        steps=np.array([0, 2, 5]), alignment=np.array([-0.5, 0.2, np.nan]),
        grad_norm=np.array([2.0, 1.0, np.nan]),
    )  # fmt: skip
    assert gradients.summed(found) == pytest.approx([0.0, 1.0, 0.4])
    assert gradients.pushed(found) == pytest.approx([0.0, 2.0, 1.4])
    assert held(np.array([np.nan, 1.0, np.nan])) == pytest.approx([0.0, 1.0, 1.0])


def test_style_is_explained_away_and_the_rest_stays() -> None:
    style, other = np.eye(D)[1], np.eye(D)[2]
    path = np.linspace(0, 1, 5)[:, None, None]
    benign = [path * (a * style) * np.ones((1, 2, 1)) for a in (1.0, 2.0, 0.5)]
    basis = residual.style_subspace(benign)
    assert basis.shape == (D, 1)
    moved = path * (3 * style + other - 2 * np.eye(D)[0]) * np.ones((1, 2, 1))
    found = Readings(steps=np.arange(5), shift=moved, direction=np.eye(D)[0])
    assert residual.unexplained(found, basis)[-1] == pytest.approx(np.sqrt(5.0))
    assert residual.unexplained_toward(found, basis)[-1] == pytest.approx(2.0)
    assert residual.apart_toward(found) == pytest.approx(np.zeros(5))
    with pytest.raises(DataError, match="no benign run"):
        residual.style_subspace([])


def test_behaviour_holds_its_last_measurement() -> None:
    refused = np.array([[1.0, 1.0], [np.nan, np.nan], [0.0, 1.0]])
    found = Readings(steps=np.arange(3), behaviour=refused)
    assert plain.behaviour(found) == pytest.approx([0.0, 0.0, 0.5])


def test_readings_refuse_what_cannot_be_right() -> None:
    with pytest.raises(DataError, match="ascending"):
        Readings(steps=np.array([0, 3, 2]))
    with pytest.raises(DataError, match="'margin'"):
        Readings(steps=np.array([0, 1]), margin=np.zeros((3, 2)))
    with pytest.raises(DataError, match="no 'loss'"):
        Readings(steps=np.array([0])).need("loss")
    with pytest.raises(UsageError, match="margin"):
        get("margni")


MANY = ("turning", "negative-share", "margin", "crossing", "causal-score", "first-token-kl",
        "direction-collapse", "alignment-sum")  # fmt: skip
"""Streams of all kinds that can be watched in training."""


def _cases(n: int, seed: int, told: str = "margin") -> list[Case]:
    """Half fail at step 12; `told` rises ahead of it, the other streams are noise."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        values = {name: rng.normal(0, 1, T) for name in MANY}
        failing = i % 2 == 0
        if failing:
            values[told] = values[told] + 0.7 * np.arange(T)
        made.append(Case(np.arange(T) * 2, values, 12 if failing else None))
    return made


def test_the_fit_finds_the_stream_that_warns_and_gives_no_negative_weight() -> None:
    fitted = combined.fit(_cases(40, 0, "causal-score"), MANY)
    weights = dict(zip(fitted.streams, fitted.weights, strict=True))
    assert all(weight >= 0 for weight in fitted.weights)
    assert max(weights, key=lambda name: weights[name]) == "causal-score"
    assert weights["causal-score"] > 5 * sorted(fitted.weights)[-2]


def test_the_fit_is_the_optimum_of_its_loss() -> None:
    """At the optimum the slope is zero where a weight is free and not negative where it is 0."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 3))
    y = (rng.random(200) < 1 / (1 + np.exp(-(1.5 * x[:, 0] - 1.0 * x[:, 1])))).astype(float)
    mass = np.full(200, 1 / 200)
    weights = combined._logistic(x, y, mass)
    assert weights[0] > 0.5
    assert weights[1] == 0.0
    assert weights[2] < 0.2

    def loss(w: np.ndarray, b: float) -> float:
        odds = x @ w + b
        return float(mass @ (np.logaddexp(0, odds) - y * odds) + combined.RIDGE / 2 * w @ w)

    best = min(loss(weights, b) for b in np.linspace(-2, 2, 401))
    for step in (np.eye(3) * 0.05).tolist() + (np.eye(3) * -0.05).tolist():
        other = np.maximum(weights + np.array(step), 0)
        assert best <= min(loss(other, b) for b in np.linspace(-2, 2, 401)) + 1e-7


def _falling(forecast: float | None) -> Readings:
    """Two prompts: one falls by a nat a step from 10, the other rests at 5."""
    steps = np.arange(0, 12, 2)
    margin = np.stack([10.0 - steps, np.full(len(steps), 5.0)], axis=1)
    return Readings(steps=steps, margin=margin, forecast=forecast)


@pytest.mark.parametrize(
    ("forecast", "first"),
    # Below zero one step ahead: at step 10 (margin 0); with 1 + 4 ahead: at step 6 (margin 4).
    [(None, 10), (0.0, 10), (0.1, 10), (1.0, 6), (0.8, 8)],
)
def test_a_fall_is_carried_on_as_far_as_harm_was_forecast(forecast, first) -> None:
    found = margins.turning(_falling(forecast))
    steps = np.arange(0, 12, 2)
    assert found.tolist() == [0.5 if step >= first else 0.0 for step in steps]
    alone = margins.turning_alone(_falling(forecast))
    assert alone.tolist() == [0.5 if step >= 10 else 0.0 for step in steps]


def test_a_margin_that_rises_or_rests_never_turns() -> None:
    steps = np.arange(0, 8, 2)
    rising = Readings(steps=steps, margin=np.outer(0.01 + steps, np.ones(3)), forecast=1.0)
    assert not margins.turning(rising).any()


def test_the_fit_needs_both_kinds() -> None:
    with pytest.raises(DataError, match="0 that fail"):
        combined.fit([case for case in _cases(6, 0) if case.fail_step is None])


def parameters(**changed: object) -> MonitorParameters:
    fitted = combined.fit(_cases(40, 2), MANY)
    plain_values = {
        "streams": fitted.streams, "weights": (0.5,) * len(fitted.streams),
        "scales": fitted.scales, "detector": "cusum",
        "score": Reference.of(np.linspace(-1, 1, 50)).knots,
        "maxima": tuple(np.linspace(0, 3, 30).tolist()), "steps": tuple(range(0, 2 * T, 2)),
        "bases": ("b" * 64,), "failing": 20, "probes": P,
    }  # fmt: skip
    return MonitorParameters.model_validate({**plain_values, **changed})


def test_a_live_run_is_scored_as_a_stored_one(tmp_path) -> None:
    """The same readings, one observation at a time, with the alignment a step late and a resume."""
    whole, frozen = replace(readings(4), forecast=0.7), parameters()
    frozen.save(tmp_path / "own.json")
    assert MonitorParameters.open(str(tmp_path / "own.json")) == frozen
    values = {name: get(name).compute(whole) for name in frozen.streams}
    path = frozen.path(frozen.combined().score(values))
    watch = Watch(frozen, 0.1, forecast=0.7)
    seen = []
    for t, step in enumerate(whole.steps.tolist()):
        assert watch.due(step)
        result = watch.see(
            step, drifts={name: float(d[t]) for name, d in (whole.drifts or {}).items()},
            margin=whole.need("margin")[t], kl_first=whole.need("kl_first")[t],
            margin_ablated=whole.need("margin_ablated")[t],
        )  # fmt: skip
        seen.append(result.value)
        if t == 4:
            state, watch = watch.state(), Watch(frozen, 0.1, forecast=0.7)
            watch.restore(state)
        watch.aligned(step, float(whole.need("alignment")[t]))
    assert seen == pytest.approx(path.tolist())
    assert watch.fired == bool((path > frozen.threshold(0.1)).any())
    assert Watch(frozen, 0.1).settings() != watch.settings()


def test_the_grid_goes_on_beyond_its_end_and_rates_must_be_promised() -> None:
    watch = Watch(parameters(steps=(0, 2, 4, 10)))
    assert [step for step in range(30) if watch.wants(step)] == [0, 2, 4, 10]
    drifts = dict.fromkeys(("direction_collapse", "interference_growth", "subspace_rotation"), 0.0)
    rows = dict.fromkeys(("margin", "margin_ablated", "kl_first"), [1.0] * P)
    looked = []
    for step in [s for s in range(30) if s != 17]:  # the time budget left no look after step 17
        if watch.due(step):
            watch.see(step, drifts=drifts, **rows)
            looked.append(step)
    assert looked == [0, 2, 4, 10, 16, 22, 28]
    assert watch.awaits(28)
    assert not watch.awaits(29)
    with pytest.raises(UsageError, match="cannot be promised"):
        Watch(parameters(), 0.01)
    first = parameters()
    offline = first.model_copy(
        update={"streams": ("loss", *first.streams[1:]), "weights": (1.0, *first.weights[1:])}
    )
    with pytest.raises(UsageError, match="cannot be measured"):
        Watch(offline)
    with pytest.raises(UsageError, match="freeze"):
        MonitorParameters.open("nowhere.json")
    assert "of other models" in watch.rule("c" * 64)
    assert "of this model" in watch.rule("b" * 64)


def test_the_shipped_monitor_can_be_watched_in_training() -> None:
    if not resources.files("holdfast.tuning.monitors").joinpath(SHIPPED).is_file():
        with pytest.raises(UsageError, match="bench monitors --freeze"):
            MonitorParameters.open("combined")
        return
    watch = Watch(MonitorParameters.open("combined"), 0.05)
    assert watch.wants(0)
    assert watch.needs
    assert watch.parameters.maxima == tuple(sorted(watch.parameters.maxima))
