"""The site filter on made-up scores, eligibility, and weight-space shares."""

import pytest
import torch

from holdfast.core.errors import InvalidRun
from holdfast.geometry.directions.diffmean import FeatureSet
from holdfast.geometry.eligibility import behaves, separates
from holdfast.geometry.selection import Causal, SiteRules, candidate_layers, choose, fall_back
from holdfast.geometry.weights import shares

GOOD = Causal(-5.0, 3.0, 0.01)


def _choose(scores: list[Causal], **rules):
    separations = {layer: float(layer) for layer in range(len(scores))}
    return choose(dict(enumerate(scores)), separations, 4.0, len(scores), SiteRules(**rules))


@pytest.mark.parametrize(
    ("layers", "allowed"), [(1, 0), (2, 1), (4, 3), (5, 4), (6, 5), (10, 8), (32, 26)]
)
def test_depth(layers: int, allowed: int) -> None:
    assert candidate_layers(layers, SiteRules()) == range(allowed)


def test_lowest_bypass_wins_and_faults_are_named() -> None:
    sites = _choose([
        GOOD, Causal(-9.0, 3.0, 0.2), Causal(-9.0, -0.1, 0.0), Causal(4.0, 3.0, 0.0),
        Causal(-7.0, 3.0, 0.05), Causal(-1.0, 3.0, 0.0), Causal(0.0, 3.0, 0.0),
        Causal(-8.0, 3.0, 0.0), Causal(-9.0, 9.0, 0.0), GOOD,
    ])  # fmt: skip
    assert [s.layer for s in sites if s.chosen] == [0, 4, 7]
    reasons = [s.reason for s in sites]
    assert "KL 0.200 > 0.1" in reasons[1]
    assert "induces no refusal" in reasons[2]
    assert "does not lower" in reasons[3]
    assert reasons[7].startswith("rank 1 of 5")
    assert "3 are kept" in reasons[5]
    assert "close to the output" in reasons[8]
    assert sites[7].name == "resid_post.7"


def test_nothing_survives_falls_back_on_separation() -> None:
    sites = _choose([Causal(5.0, 1.0, 0.0)] * 4)
    assert not any(site.chosen for site in sites)
    (chosen,) = [s for s in fall_back(sites, 4, SiteRules()) if s.chosen]
    assert chosen.layer == 2
    assert "no site survived" in chosen.reason


def test_behaviour_needs_most_margins_positive() -> None:
    assert behaves(torch.tensor([1.0, 2.0, -1.0])).eligible
    no = behaves(torch.tensor([1.0, -2.0]))
    assert not no.eligible
    assert "nothing to preserve" in no.reason


def test_separation_must_beat_permuted_labels(world) -> None:
    rows = [r for r in world.rows if r.concept == "harmful"]
    train = [r for r in rows if r.split == "train"]
    held = [r for r in rows if r.split == "validation"]
    sets = FeatureSet.of(train), FeatureSet.of(held)
    real = [world.sample(part, world.planted(), seed) for seed, part in enumerate((train, held))]
    assert separates(real[0], sets[0], real[1], sets[1], 0).eligible
    fired = 0
    for seed in range(40):
        noise = [
            world.sample(part, world.planted() * 0, 10 + 2 * seed + i)
            for i, part in enumerate((train, held))
        ]
        fired += separates(noise[0], sets[0], noise[1], sets[1], seed).eligible
    assert fired <= 7  # 5 % expected


def test_weight_shares(world) -> None:
    subspace = world.fitted.array("subspace", "resid_post.2")
    d, k = subspace.shape
    inside = subspace @ torch.ones(k, 7, dtype=torch.float64)
    noise = torch.randn(d, 500, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = shares(
        world.fitted, [("a", 3, inside), ("b", 2, noise), ("c", 0, inside * 0), ("d", 0, noise)]
    )
    assert [s.site for s in found] == ["resid_post.2"] * 2 + ["resid_post.1"] * 2
    assert found[0].value == pytest.approx(1.0)
    assert found[1].value == pytest.approx(k / d, rel=0.15)
    assert found[1].random == pytest.approx(k / d)
    assert found[2].value == 0.0
    with pytest.raises(InvalidRun, match="residual stream"):
        shares(world.fitted, [("a", 1, torch.ones(d + 1, 3))])
    with pytest.raises(InvalidRun, match="finite"):
        shares(world.fitted, [("a", 1, torch.full((d, 3), float("nan")))])
