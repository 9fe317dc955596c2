"""Updates in closed form: what is written is exactly θ_base + L·(θ_run − θ_base)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from holdfast.core.errors import IntegrityError, UsageError
from holdfast.models.loading import load
from holdfast.repair.updates import (
    AdapterUpdate,
    FullUpdate,
    added,
    additive,
    open_update,
    oriented,
    stacked,
)
from holdfast.repair.weights import layer_of
from holdfast.testing import tiny

CONVERSATION = [[{"role": "user", "content": "Show me the tide"}]]


def logits(folder: Path, adapter: Path | None = None) -> torch.Tensor:
    loaded = load(folder, adapter=adapter)
    ids = torch.tensor([loaded.render(CONVERSATION[0])])
    with torch.no_grad():
        return loaded.model(input_ids=ids).logits


def edit_config(folder: Path, to: Path, **changes: object) -> Path:
    shutil.copytree(folder, to)
    path = to / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return to


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_adding_an_adapter_is_what_peft_computes(architecture: str, tmp_path: Path):
    base = tiny.build(tmp_path / "base", architecture, layers=2)
    adapter = tiny.build_adapter(base, tmp_path / "adapter")
    merged = added(base, open_update(base, adapter), tmp_path / "merged")
    assert torch.allclose(logits(merged), logits(base, adapter), atol=1e-4)
    assert not torch.allclose(logits(merged), logits(base), atol=1e-2)


@pytest.mark.parametrize("changes", [{"use_rslora": True}, {"alpha_pattern": {"q_proj": 32}}])
def test_the_scaling_follows_pefts_rules(base: Path, adapter: Path, tmp_path: Path, changes):
    changed = edit_config(adapter, tmp_path / "changed", **changes)
    merged = added(base, open_update(base, changed), tmp_path / "merged")
    assert torch.allclose(logits(merged), logits(base, changed), atol=1e-4)
    assert not torch.allclose(logits(merged), logits(base, adapter), atol=1e-3)


def test_factor_zero_is_the_base_and_one_is_the_run(base: Path, adapter: Path, tmp_path: Path):
    update = open_update(base, adapter)
    none = update.write(tmp_path / "none", lambda _: 0.0)
    whole = update.write(tmp_path / "whole", lambda _: 1.0)
    assert torch.equal(logits(base, none), logits(base))
    assert torch.equal(logits(base, whole), logits(base, adapter))


def test_a_matrix_acts_on_the_output_side(base: Path, adapter: Path, tmp_path: Path):
    update = open_update(base, adapter)
    name = next(n for n in update.matrices() if n.endswith("down_proj.weight"))
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(32, 32, generator=generator, dtype=torch.float64)
    edited = open_update(
        base, update.write(tmp_path / "edited", lambda n: matrix if n == name else 1.0)
    )
    expected = (matrix @ oriented(update, name).double()).float()
    assert torch.allclose(oriented(edited, name), expected, atol=1e-5)


def test_two_adapters_stack_exactly(base: Path, adapter: Path, other_adapter: Path, tmp_path):
    first, second = AdapterUpdate.open(adapter), AdapterUpdate.open(other_adapter)
    both = AdapterUpdate.open(stacked(first, second, -0.5, tmp_path / "both"))
    assert both.config["r"] == 6
    for name in first.matrices():
        expected = first.delta(name) - 0.5 * second.delta(name)
        assert torch.allclose(both.delta(name), expected, atol=1e-5)
    once = added(base, first, tmp_path / "once")
    twice = added(once, second, tmp_path / "twice", factor=-0.5)
    assert torch.allclose(logits(base, tmp_path / "both"), logits(twice), atol=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_full_weights_interpolate(base: Path, full: Path, tmp_path: Path, weights, alpha: float):
    update = open_update(base, full)
    made = update.write(tmp_path / "made", lambda _: alpha)
    a, b, c = weights(base), weights(full), weights(made)
    assert c.keys() == a.keys()
    for name in a:
        if alpha in (0.0, 1.0):
            assert torch.equal(c[name], a[name] if alpha == 0 else b[name])
        else:
            assert torch.allclose(c[name], a[name] + alpha * (b[name] - a[name]), atol=1e-6)
    assert (made / "tokenizer.json").is_file()
    load(made)


def test_full_weights_of_another_shape_are_refused(full: Path, tmp_path: Path):
    other = tiny.build(tmp_path / "other", layers=3, hidden=64)
    with pytest.raises(UsageError, match="differ in .* tensors"):
        open_update(other, full)


def test_only_changed_matrices_inside_blocks_count(base: Path, full: Path):
    assert open_update(base, base).matrices() == []
    update = open_update(base, full)
    assert isinstance(update, FullUpdate)
    assert all(layer_of(name) is not None for name in update.matrices())
    assert len({layer_of(name) for name in update.matrices()}) == 3


def test_layers_are_read_from_names():
    assert layer_of("model.layers.11.mlp.up_proj.weight") == 11
    assert layer_of("transformer.h.3.attn.c_attn.weight") == 3
    assert layer_of("model.embed_tokens.weight") is None


@pytest.mark.parametrize(
    "changes",
    [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"init_lora_weights": "pissa"},
     {"peft_type": "IA3"}, {"bias": "all"}],
)  # fmt: skip
def test_an_adapter_that_is_more_than_b_a_is_refused(adapter: Path, tmp_path: Path, changes):
    changed = edit_config(adapter, tmp_path / "changed", **changes)
    assert not additive(json.loads((changed / "adapter_config.json").read_text()))
    with pytest.raises(UsageError, match="merge it into its base"):
        AdapterUpdate.open(changed)


def test_a_truncated_file_is_named(base: Path, full: Path, tmp_path: Path):
    broken = tmp_path / "broken"
    shutil.copytree(full, broken)
    path = broken / "model.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(IntegrityError, match=r"model\.safetensors is corrupted"):
        open_update(base, broken)
