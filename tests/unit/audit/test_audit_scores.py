"""Scores on tiny models and closed forms: sketches are gradients, nulls are nulls."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from holdfast.audit.scores import gradient as gradients
from holdfast.audit.scores import representation as anchor_similarity
from holdfast.audit.scores.gradient import gradient, gradient_sketches, refusal_loss
from holdfast.audit.scores.pairs import Anchors, Pair, fits, row_states, tokenise
from holdfast.audit.scores.projection import projection
from holdfast.audit.scores.representation import choose_layer, representation
from holdfast.audit.scores.scored import Scored
from holdfast.audit.scores.spectrum import effective_rank
from holdfast.audit.scores.spillover import harmful_features, spillover
from holdfast.core.errors import DataError
from holdfast.models.activations import response_mean
from holdfast.models.architecture import residual_writers
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.testing import tiny


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    torch.set_num_threads(1)
    return load(tiny.build(tmp_path_factory.mktemp("audit") / "tiny", "llama", hidden=16, layers=2))


@pytest.fixture(scope="session")
def pairs() -> list[Pair]:
    texts = ("Hi", "How do I mend a net?", "Show me the lamp. " * 3, "x", "tide " * 8)
    return [
        Pair([{"role": "user", "content": t}], f"Sure, here is {i} of it.")
        for i, t in enumerate(texts)
    ]


class TestReading:
    def test_states_are_those_of_the_models_package(
        self, small: LoadedModel, pairs: list[Pair]
    ) -> None:
        states = row_states(small, tokenise(small, pairs), [0, 1], batch_size=3)
        want = response_mean(small, [p.messages for p in pairs], [p.answer for p in pairs], [0, 1])
        for layer in (0, 1):
            torch.testing.assert_close(states.mean[layer], want[layer], atol=1e-5, rtol=1e-4)
        alone = row_states(small, tokenise(small, pairs[2:3]), [1], batch_size=1)
        torch.testing.assert_close(states.last[1][2:3], alone.last[1], atol=1e-5, rtol=1e-4)

    def test_rows_that_do_not_fit_are_refused(self, small: LoadedModel) -> None:
        long = Pair([{"role": "user", "content": "Hi"}], "tide " * 400)
        assert not fits(small, long)
        with pytest.raises(DataError, match="longer than the model's context"):
            tokenise(small, [long])

    def test_few_anchors_are_refused(self, pairs: list[Pair]) -> None:
        with pytest.raises(DataError, match="too few unsafe anchors"):
            Anchors(tuple(pairs), tuple(pairs * 3))


class TestGradients:
    def test_a_sketch_is_the_projected_gradient_of_the_weights(
        self, small: LoadedModel, pairs: list[Pair]
    ) -> None:
        tokens = tokenise(small, pairs)
        got = gradient_sketches(small, tokens, seed=0, batch_size=3)
        sketch = gradients._Sketch(small, 0)
        size = sketch._size
        row = tokens[2]
        ids = torch.tensor([row.prompt + row.answer])
        logits = small.model(input_ids=ids).logits[0, len(row.prompt) - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(row.answer))
        modules = [module for _, _, module in residual_writers(small.model)]
        grads = torch.autograd.grad(loss, [m.weight for m in modules])
        for place, grad in enumerate(grads):
            left = sketch._side(place, 1, grad.shape[0], grad.device)
            right = sketch._side(place, 0, grad.shape[1], grad.device)
            want = (left.T @ grad @ right).flatten()
            part = got[2, place * size**2 : (place + 1) * size**2]
            torch.testing.assert_close(part, want, atol=1e-5, rtol=1e-3)

    def test_the_model_is_left_as_it_was(self, small: LoadedModel, pairs: list[Pair]) -> None:
        before = [(p.requires_grad, p.detach().clone()) for p in small.model.parameters()]
        gradient_sketches(small, tokenise(small, pairs), seed=0)
        for (flag, value), now in zip(before, small.model.parameters(), strict=True):
            assert now.requires_grad == flag
            assert now.grad is None
            assert torch.equal(value, now)

    def test_rows_that_raise_the_refusal_loss_score_high(self) -> None:
        stream = torch.Generator().manual_seed(0)
        away = torch.randn(64, generator=stream)
        noise = torch.randn(60, 64, generator=stream) * 0.3
        target = refusal_loss(noise[:10] * 0.01, noise[10:20] * 0.3 + away)
        unsafe, safe = noise[20:40] + away, noise[40:60]
        rows = torch.cat([unsafe[:3] + 0.1, safe[:7]])
        score = gradient(rows, target, unsafe, safe, seed=0)
        assert score.usable
        assert score.beyond.tolist() == [True] * 3 + [False] * 7


def _cloud(count: int, at: Tensor, seed: int) -> Tensor:
    return at + 0.5 * torch.randn(count, len(at), generator=torch.Generator().manual_seed(seed))


class TestRepresentationAndProjection:
    def setup_method(self) -> None:
        self.far, self.near = torch.zeros(32), torch.zeros(32)
        self.far[0] = self.near[1] = 4.0
        self.unsafe, self.safe = _cloud(40, self.far, 1), _cloud(40, self.near, 2)
        self.rows = torch.cat([_cloud(5, self.far, 3), _cloud(45, self.near, 4)])

    def test_rows_like_unsafe_anchors_are_beyond_and_others_not(self) -> None:
        score = representation(self.rows, self.unsafe, self.safe, layer=3, seed=0)
        assert score.usable
        assert score.beyond.tolist() == [True] * 5 + [False] * 45
        assert score.harm[:5].mean() == pytest.approx(1.0, abs=0.3)

    def test_projection_is_the_closed_form(self) -> None:
        own = _cloud(50, self.near, 5)
        score = projection(
            self.rows, own, self.unsafe, self.safe, self.unsafe - 1, self.safe, layer=3, seed=0
        )
        v = self.unsafe.double().mean(0) - self.safe.double().mean(0)
        want = (self.rows - own).double() @ (v / v.norm())
        torch.testing.assert_close(score.values, want)
        assert score.safe == 0.0

    def test_rows_that_say_what_the_base_says_have_no_difference(self) -> None:
        score = projection(
            self.rows,
            self.rows,
            self.unsafe,
            self.safe,
            self.unsafe - 1,
            self.safe,
            layer=3,
            seed=0,
        )
        assert float(score.values.abs().max()) == 0.0
        assert not bool(score.beyond.any())

    def test_anchors_that_do_not_differ_give_a_score_that_is_not_used(self) -> None:
        other = _cloud(40, self.near, 6)
        for score in (
            representation(self.rows, other, self.safe, layer=0, seed=0),
            projection(self.rows, None, other, self.safe, None, None, layer=0, seed=0),
        ):
            assert score.anchor_auroc < 0.8
            assert not score.usable

    def test_the_layer_is_chosen_by_anchors(self, small: LoadedModel, pairs: list[Pair]) -> None:
        states = row_states(small, tokenise(small, pairs * 4), [0, 1])
        moved = states._replace(last={0: states.last[0], 1: states.last[1] + 50 * torch.eye(16)[0]})
        assert choose_layer(moved, states, seed=0) == 1


class TestSpectrum:
    def test_orthogonal_rows_span_as_many_directions(self) -> None:
        assert effective_rank(torch.eye(12), centre=False) == pytest.approx(12.0)

    def test_two_unequal_directions(self) -> None:
        rows = torch.cat([torch.eye(2)[:1].repeat(3, 1), torch.eye(2)[1:]])
        p = torch.tensor([0.75, 0.25])
        assert effective_rank(rows, centre=False) == pytest.approx(math.exp(-(p * p.log()).sum()))

    @pytest.mark.parametrize("centre", [True, False])
    def test_identical_rows_span_one(self, centre: bool) -> None:
        assert effective_rank(torch.randn(1, 9).repeat(20, 1), centre=centre) == pytest.approx(1.0)

    def test_one_row(self) -> None:
        assert effective_rank(torch.randn(1, 9), centre=True) == 1.0


class _Dictionary:
    """An encoder whose features are the coordinates, with two directions that lie together."""

    layer = 0

    def __init__(self, width: int) -> None:
        self.decoder = torch.eye(width)
        self.decoder[1] = self.decoder[0] * 0.8 + self.decoder[1] * 0.6

    def encode(self, x: Tensor, /) -> Tensor:
        return x.clamp_min(0.0)


def test_spillover_counts_neighbours_of_harmful_features() -> None:
    stream = torch.Generator().manual_seed(0)
    base = torch.rand(60, 40, generator=stream) * 0.2
    unsafe, safe, rows = base[:20].clone(), base[20:40].clone(), base[40:].clone()
    unsafe[:, :2] += 3.0
    rows[:4, 1] += 3.0  # raises the neighbour, not the harmful feature itself
    encoder = _Dictionary(40)
    assert set(harmful_features(unsafe, safe).tolist()) == {0, 1}
    score = spillover(encoder, [rows, unsafe, safe], None, seed=0)
    assert score.layer == 0
    assert bool((score.values >= 0).all())
    same = spillover(encoder, [rows, unsafe, safe], [rows, safe, safe], seed=0)
    assert float(same.values.abs().max()) == 0.0  # what the base says anyway adds nothing
    assert not bool(same.beyond.any())


def test_a_threshold_is_the_higher_of_null_and_middle() -> None:
    values = torch.tensor([0.2, 0.6, 0.9]).double()
    middle = Scored("x", values, 0.0, 1.0, 1.0, 0.1, "none")
    null = Scored("x", values, 0.0, 1.0, 1.0, 0.8, "none")
    assert middle.beyond.tolist() == [False, True, True]
    assert null.beyond.tolist() == [False, False, True]
    assert middle.harm.tolist() == pytest.approx(values.tolist())


@pytest.mark.parametrize(("unsafe", "safe"), [(8, 8), (9, 40)])
def test_the_null_of_permuted_labels_is_the_score_of_every_permutation(unsafe, safe):
    cosines = torch.rand(20, unsafe + safe, generator=torch.Generator().manual_seed(0)).double()
    null = anchor_similarity._permuted(cosines, unsafe, seed=3)
    stream = torch.Generator().manual_seed(3)
    for row in null:
        mixed = cosines[:, torch.randperm(unsafe + safe, generator=stream)]
        expected = anchor_similarity._difference(mixed[:, :unsafe], mixed[:, unsafe:])
        assert torch.allclose(row, expected, atol=1e-12)
