"""The public conformance suite, over every protection and the kinds of arms it is sound for.

`bench/conformance.py` runs the full cross of methods, tuners and protections.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.tensors.projection import projector
from holdfast.testing import arms, conformance, tiny
from holdfast.tuning.protections.constrained.weights import token_weights
from holdfast.tuning.protections.registry import PROTECTIONS
from holdfast.tuning.protections.safegrad.config import SafeGradConfig
from holdfast.tuning.protections.safegrad.protection import SafeGrad

from .conftest import PROMPTS

NAMES = PROTECTIONS.names()


@pytest.fixture(scope="module")
def materials(base):
    return arms.materials(base)


@pytest.fixture(scope="module")
def plain(base, tmp_path_factory):
    """Weights of unprotected arms, trained once each."""
    done = {}

    def of(method: str, tuner: str):
        if (method, tuner) not in done:
            spec = arms.arm(
                base, tmp_path_factory.mktemp("plain"), None, method=method, tuner=tuner
            )
            done[method, tuner] = arms.weights(spec, arms.run(spec))
        return done[method, tuner]

    return of


@pytest.mark.parametrize("name", NAMES)
def test_off_is_the_unprotected_run_bit_for_bit(name, base, tmp_path, materials, plain):
    conformance.check_off_changes_nothing(
        name, base, tmp_path, materials, plain=plain("sft", "lora")
    )


@pytest.mark.parametrize(
    ("name", "method", "tuner"),
    [
        ("replay_kl", "dpo", "lora"), ("subspace_guard", "sft", "full"),
        ("constrained", "sft", "full"), ("weight_ema", "sft", "dora"),
    ],
)  # fmt: skip
def test_off_changes_nothing_elsewhere_either(
    name, method, tuner, base, tmp_path, materials, plain
):
    conformance.check_off_changes_nothing(
        name, base, tmp_path, materials, plain=plain(method, tuner), method=method, tuner=tuner
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_takes_the_same_trajectory_and_only_trained_weights_move(
    name, base, tmp_path, materials
):
    conformance.check_resume(name, base, tmp_path, materials)


def test_tied_weights_stay_tied_in_full_training(tmp_path):
    base = tiny.build(tmp_path / "gpt2", "gpt2", layers=2)
    conformance.check_touches_only_what_is_trained(
        "subspace_guard", base, tmp_path / "arm", arms.materials(base), tuner="full"
    )


def test_the_suite_notices_a_protection_that_is_never_off(base, tmp_path, materials, plain):
    other = {k: v + 1 for k, v in plain("sft", "lora").items()}
    with pytest.raises(AssertionError, match="strength zero"):
        conformance.check_off_changes_nothing(
            "frozen_layers", base, tmp_path, materials, plain=other
        )


@settings(deadline=None, max_examples=25)
@given(d=st.integers(3, 12), n=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_every_projector_is_one_and_ignores_scale(d, n, seed):
    v = torch.randn(d, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    conformance.check_projector(projector, v)


def test_the_published_form_fails_the_projector_check():
    v = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.raises(AssertionError, match="P²"):
        conformance.check_projector(lambda x: x @ x.mT / x.norm(), v)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_constrained_weights_are_the_closed_form(seed):
    generator = torch.Generator().manual_seed(seed)
    now, base = (3 * torch.randn(9, generator=generator) for _ in range(2))
    beta = torch.tensor([0.5, 2.0, 0.1] * 3)
    conformance.check_constrained_weights(
        lambda x, y, b: token_weights(x, y, b, floor=1e-30), now, base, beta
    )


def _surgery(task, alignment):
    """SafeGrad's own code on gradients of our choice."""
    guard = SafeGrad(SafeGradConfig(weight=0.0), PROMPTS)
    parameters = [torch.nn.Parameter(torch.zeros_like(t)) for t in task]
    for parameter, gradient in zip(parameters, task, strict=True):
        parameter.grad = gradient.clone()
    guard._alignment = list(zip(parameters, alignment, strict=True))
    assert guard.before_step(None, 0)
    return [parameter.grad for parameter in parameters]


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-4, 1.0, 1e4]))
def test_safegrad_never_leaves_a_conflict(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 4), (5,), (2, 2)]
    task = [torch.randn(shape, generator=generator) for shape in shapes]
    alignment = [scale * torch.randn(shape, generator=generator) for shape in shapes]
    conformance.check_safegrad(_surgery, task, alignment)


def test_safegrad_asks_the_whole_gradient_and_not_each_tensor():
    """One tensor conflicts, the whole does not: nothing may change."""
    task = [torch.tensor([1.0, 0.0]), torch.tensor([-1.0])]
    alignment = [torch.tensor([3.0, 0.0]), torch.tensor([1.0])]
    assert [t.tolist() for t in _surgery(task, alignment)] == [t.tolist() for t in task]


def test_an_opposite_gradient_is_removed_whole_and_zero_alignment_changes_nothing():
    task = [torch.tensor([2.0, -1.0])]
    assert torch.allclose(_surgery(task, [-task[0] * 5])[0], torch.zeros(2), atol=1e-6)
    assert torch.equal(_surgery(task, [torch.zeros(2)])[0], task[0])


def test_where_a_protection_is_unsound_the_suite_says_so():
    assert not conformance.sound("constrained", "dpo", "lora")
    assert conformance.sound("replay_kl", "dpo", "qlora")
