from __future__ import annotations

import json

import pytest
import torch

from holdfast.core.errors import DataError, UsageError
from holdfast.models.loading import load
from holdfast.testing import tiny
from holdfast.tuning.scaling import choose, rescale, sweep


def _logits(model):
    with torch.no_grad():
        return model(torch.arange(3, 20)[None]).logits


@pytest.fixture
def adapter(base, tmp_path):
    return tiny.build_adapter(base, tmp_path / "adapter")


def test_a_rescaled_adapter_is_exact_at_zero_and_one_and_equals_the_live_scale(
    base, adapter, tmp_path
):
    whole, bare = load(base, adapter=adapter), load(base)
    scaled = {s: rescale(adapter, s, tmp_path / f"s{s}") for s in (0.0, 0.5, 1.0)}
    saved = {s: _logits(load(base, adapter=folder).model) for s, folder in scaled.items()}
    assert torch.equal(saved[0.0], _logits(bare.model))
    assert torch.equal(saved[1.0], _logits(whole.model))
    seen = {}
    sweep(
        whole, lambda m: seen.update({m.digest: _logits(m.model)}) or (1.0, 0.5), scales=(1.0, 0.5)
    )
    assert torch.equal(seen[f"{whole.digest}@0.5"], saved[0.5])
    assert torch.equal(_logits(whole.model), saved[1.0])  # left as it was
    assert not torch.equal(saved[0.5], saved[1.0])


def test_the_choice_keeps_the_task_then_refuses_most_then_prefers_the_larger_scale():
    rows = [(1.0, 1.0, 0.3), (0.75, 0.99, 0.5), (0.5, 0.985, 0.9), (0.25, 0.7, 1.0)]
    assert choose(rows, keep_task=0.98) == 0.5
    assert choose(rows, keep_task=0.6) == 0.25
    assert choose([(1.0, 0.9, 0.9), (0.5, 0.95, 0.9)], keep_task=0.98) == 1.0


def test_sweep_marks_one_choice(base, adapter):
    choices = sweep(
        load(base, adapter=adapter), lambda m: (1.0, 0.9 if "0.75" in m.digest else 0.5)
    )
    assert [(c.scale, c.chosen) for c in choices] == [(1.0, False), (0.75, True), (0.5, False)]


def test_bad_scales_and_folders_are_refused(base, adapter, tmp_path):
    with pytest.raises(UsageError, match="1.0 included"):
        sweep(load(base, adapter=adapter), lambda m: (1.0, 1.0), scales=(0.5,))
    with pytest.raises(DataError, match="no adapter"):
        rescale(tmp_path, 0.5, tmp_path / "x")
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "use_dora": True}))
    with pytest.raises(UsageError, match="DoRA"):
        rescale(adapter, 0.5, tmp_path / "y")
