"""The three drifts on planted activations: closed forms, floors, nulls, determinism, speed."""

import math
import time
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from holdfast.core.errors import InvalidRun
from holdfast.core.records import DriftReport, DriftValue
from holdfast.geometry.drift import floors, measure_activations, point
from holdfast.geometry.probe import ProbeSet
from holdfast.tensors.projection import unit


def _measure(fitted, activations: dict[int, Tensor], **options) -> DriftReport:
    settings = {"seed": 0, "resamples": 100, **options}
    return measure_activations(
        fitted, activations, candidate="tuned", arm="plain", step=5, **settings
    )


def _get(report: DriftReport, drift: str, site: str = "resid_post.1") -> DriftValue:
    return next(d for d in report.drifts if d.drift == drift and d.site == site)


def _single(world: SimpleNamespace, **options):
    return world.fit(world.rows, {1: world.base}, **options)


def _rotation(d: int, degrees: float) -> Tensor:
    """An orthogonal map that turns the first half of the axes by an angle into the second half."""
    theta, half = math.radians(degrees), d // 2
    c, s = math.cos(theta) * torch.eye(half), math.sin(theta) * torch.eye(half)
    return torch.cat([torch.cat([c, -s], 1), torch.cat([s, c], 1)]).double()


def test_the_base_against_itself_is_zero_with_a_zero_interval(world) -> None:
    report = _measure(world.fitted, {1: world.base.float(), 2: (world.base * 3 + 1).float()})
    assert len(report.drifts) == 6
    for drift in report.drifts:
        assert drift.value == pytest.approx(0, abs=1e-6)
        assert (drift.low, drift.high) == pytest.approx((0, 0), abs=1e-5)
        assert drift.floor > 0.001
        assert not drift.distinguishable


@pytest.mark.parametrize("degrees", [30.0, 60.0])
def test_a_planted_rotation_is_reported(world, degrees: float) -> None:
    # a rotation of everything by one angle into fresh axes: all principal angles are that angle
    wide = torch.cat([world.base, torch.zeros_like(world.base)], 1)
    fitted = world.fit(world.rows, {1: wide})
    turned = wide @ _rotation(wide.shape[1], degrees).mT
    found = _get(_measure(fitted, {1: turned}), "subspace_rotation")
    assert found.extras["angle_1_degrees"] == pytest.approx(degrees, abs=1e-3)
    assert found.value == pytest.approx(degrees / 90, abs=1e-5)
    assert found.extras["overlap"] == pytest.approx(math.cos(math.radians(degrees)) ** 2, abs=1e-5)
    # a common rotation changes no overlap between features
    growth = _get(_measure(fitted, {1: turned}), "interference_growth")
    assert growth.value == pytest.approx(0, abs=1e-6)


def test_a_planted_shrink_halves_separation_and_norm(world) -> None:
    # group means exact in every category, split and label, and one direction for all of them, so
    # that the spread between categories does not shrink along with it
    exact, tuned = world.base.clone(), world.base.clone()
    keys = [(r.concept, r.category, r.split, r.label) for r in world.rows]
    mean = torch.zeros(world.base.shape[1], dtype=torch.float64)
    mean[0] = 4.0
    for key in set(keys):
        index = torch.tensor([i for i, k in enumerate(keys) if k == key])
        noise = world.base[index] - world.base[index].mean(0)
        exact[index], tuned[index] = noise + mean * key[3], noise + mean / 2 * key[3]
    fitted = world.fit(world.rows, {1: exact})
    found = _get(_measure(fitted, {1: tuned}), "direction_collapse")
    assert found.value == pytest.approx(0.5, abs=1e-6)
    assert found.extras["norm_ratio"] == pytest.approx(0.5, abs=1e-6)
    assert found.extras["cosine"] == pytest.approx(1, abs=1e-6)
    assert found.low <= 0.5 <= found.high
    assert found.null < 0.2
    assert found.extras["auroc_change"] < 0


def test_planted_interference_growth_and_its_null(world) -> None:
    directions = world.planted() * 6  # strong, so that prompt noise hides nothing
    fitted = world.fit(world.rows, {1: world.sample(world.rows, directions, 0)})
    directions[4] = directions[0]  # the persona becomes a harm direction
    tuned = world.sample(world.rows, directions, 0)
    found = _get(_measure(fitted, {1: tuned}), "interference_growth")
    # with the persona: cos² was 0 and is 1, 1/4, 1/4 for the three harm categories
    assert found.value == pytest.approx(0.5, abs=0.03)
    assert found.value > found.floor
    assert found.value > found.null
    assert found.extras["random_expectation"] == pytest.approx(4 / directions.shape[1])


def test_spillover_is_the_push_of_the_task_along_safety(world) -> None:
    rows = [
        r if r.concept != "persona" else type(r)("task", "t", *(
            getattr(r, f) for f in ("label", "split", "prompt_id", "messages")
        ))
        for r in world.rows
    ]  # fmt: skip
    fitted = world.fit(rows, {1: world.base})
    push = torch.zeros(world.base.shape[1], dtype=torch.float64)
    push[0] = 2.0
    moved = world.base.clone()
    task = torch.tensor([r.concept == "task" and r.label == 1 for r in rows])
    moved[task] += push
    found = _get(_measure(fitted, {1: moved}), "interference_growth")
    assert found.extras["spillover"] == pytest.approx(2 / math.sqrt(2), abs=0.15)


def _two_sites(activations: Tensor) -> dict[int, Tensor]:
    stretch = torch.linspace(0.5, 2, activations.shape[1]).double()
    return {1: activations, 2: activations * stretch}


@pytest.mark.parametrize("kind", ["independent prompts", "two halves"])
def test_nothing_exceeds_its_floor_on_the_same_model(world, monkeypatch, kind: str) -> None:
    monkeypatch.setattr(floors, "SPLITS", 300)
    size = 24 if kind == "two halves" else 12
    rows = world.make_rows({"train": size, "validation": 4, "test": size})
    directions, clean = world.planted(), 0
    for seed in range(100):
        base = _two_sites(world.sample(rows, directions, 1000 + seed))
        if kind == "two halves":  # the map of one half of the prompts, read on the other half
            parts = [[], []]
            for index, row in enumerate(rows):
                parts[(int(row.prompt_id.rsplit("-", 1)[1]) + seed) % 2].append(index)
            other = {layer: tensor[parts[1]] for layer, tensor in base.items()}
            base = {layer: tensor[parts[0]] for layer, tensor in base.items()}
            fitted = world.fit([rows[i] for i in parts[0]], base, seed=seed)
        else:
            other = _two_sites(world.sample(rows, directions, 5000 + seed))
            fitted = world.fit(rows, base, seed=seed)
        report = _measure(fitted, other, seed=seed, resamples=2)
        clean += not any(drift.distinguishable for drift in report.drifts)
    assert clean >= 95, f"{clean} of 100 seeds stayed below every floor"


def test_floors_hold_together_for_fresh_splits_of_the_same_prompts(world) -> None:
    fitted = world.fitted
    sites = {
        site.name: floors.SiteBase(
            fitted.array("activations", site.name),
            unit(fitted.array("direction", site.name)),
            fitted.record.subspace_dims[site.name],
        )
        for site in fitted.sites
    }
    draws = floors.half_drifts(sites, world.rows, seed=77)
    over = torch.stack([draws[name].abs() > fitted.record.floors[name] for name in draws])
    assert float(over.any(0).double().mean()) <= 0.05
    for name, values in draws.items():
        assert fitted.record.floors[name] >= float(values.abs().quantile(0.94))


def test_simultaneous_limits_hold_out_of_sample() -> None:
    draws = torch.randn(4000, 9, generator=torch.Generator().manual_seed(0)).abs()
    limits = floors.simultaneous(draws[:1000], 0.95)
    fresh = (draws[1000:] > limits).any(1).double().mean()
    assert float(fresh) == pytest.approx(0.05, abs=0.025)


def test_permuted_labels_are_not_a_drift(world) -> None:
    rows = list(world.rows)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(len(rows), 48, generator=generator, dtype=torch.float64)
    fitted = world.fit(rows, {1: noise})
    mean = sum(d.auroc for d in fitted.record.directions) / len(fitted.record.directions)
    assert mean == pytest.approx(0.5, abs=0.12)


def test_a_large_loss_stands_out_of_floor_and_null(world) -> None:
    rows = world.make_rows({"train": 16, "validation": 2, "test": 60})
    base = world.sample(rows, world.planted(), 0)
    tuned = world.sample(rows, world.planted() * 0.2, 0)
    found = _get(_measure(world.fit(rows, {1: base}), {1: tuned}), "direction_collapse")
    assert found.distinguishable
    assert found.low > found.null


def test_same_seed_same_report_and_other_seed_other_interval(world) -> None:
    tuned = world.sample(world.rows, world.planted() * 0.8, 7)
    fitted = _single(world)
    one, two = _measure(fitted, {1: tuned}), _measure(fitted, {1: tuned})
    assert one.digest() == two.digest()
    other = _measure(fitted, {1: tuned}, seed=1)
    assert [d.value for d in one.drifts] == [d.value for d in other.drifts]
    assert [d.low for d in one.drifts] != [d.low for d in other.drifts]
    assert fitted.record.floors == _single(world).record.floors


def test_streams_do_not_shift_each_other(world) -> None:
    # the bootstrap of a site is the same whether or not another site is measured beside it
    tuned = world.sample(world.rows, world.planted() * 0.8, 7)
    alone = _get(_measure(_single(world), {1: tuned}), "direction_collapse")
    both = _get(_measure(world.fitted, {1: tuned, 2: tuned * 3 + 1}), "direction_collapse")
    assert (alone.value, alone.low, alone.null) == pytest.approx((both.value, both.low, both.null))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_activations(world, dtype: torch.dtype) -> None:
    tuned = world.sample(world.rows, world.planted() * 0.5, 0)
    exact = _measure(_single(world), {1: tuned})
    rounded = _measure(_single(world), {1: tuned.to(dtype)})
    for a, b in zip(exact.drifts, rounded.drifts, strict=True):
        assert b.value == pytest.approx(a.value, abs=0.02)


def test_broken_activations_are_refused(world) -> None:
    tuned = world.base.clone()
    tuned[3, 3] = float("nan")
    with pytest.raises(InvalidRun, match="not finite"):
        _measure(_single(world), {1: tuned})


def test_the_monitors_point_is_cheap_and_agrees_in_sign(world) -> None:
    fitted = world.fitted
    probe = ProbeSet.pick(fitted, seed=0)
    assert (len(probe.indices), len(probe.harmful), int(probe.labels.sum())) == (48, 24, 24)
    assert {row.split for row in probe.rows} == {"validation"}
    counts = [sum(r.category == c and r.label == 1 for r in probe.rows) for c in "abc"]
    assert counts == [8, 8, 8]
    index = list(probe.indices)
    same = {1: world.base[index], 2: world.base[index] * 3 + 1}
    values = point(fitted, probe, same)
    assert set(values) == {
        f"{d.drift}@{d.site}"
        for d in _measure(fitted, {1: world.base, 2: world.base * 3 + 1}).drifts
    }
    assert all(abs(value) < 1e-5 for value in values.values())
    tuned = world.sample(world.rows, world.planted() * 0.5, 0)[index]
    start = time.perf_counter()
    values = point(fitted, probe, {1: tuned, 2: tuned * 3 + 1})
    assert time.perf_counter() - start < 0.5
    assert values["direction_collapse@resid_post.1"] > 0.2
    assert ProbeSet.pick(fitted, seed=0) == probe
    small = ProbeSet.pick(fitted, seed=0, harmful=12, harmless=6)
    assert small.indices[:12] == probe.indices[:12]  # a smaller probe is the start of a larger
