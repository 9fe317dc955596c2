"""The recorder on a real run of two steps: what it reads, and that it leaves no trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from holdfast.geometry.contrast import ContrastRow, parse_openings
from holdfast.geometry.safety_map import fit
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.organisms.harbor import contrast, weights_dir, zoo
from holdfast.pipeline.zoo.probe import (
    BEHAVIOUR,
    CHEAP,
    HARMFUL,
    HARMLESS,
    Probe,
    ask,
    contrast_rows,
    write_probe,
)
from holdfast.pipeline.zoo.streams import RANDOM, Recorder
from holdfast.tuning.artefacts import open_result
from holdfast.tuning.methods.arm import train
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.tuning.methods.spec import ArmSpec
from holdfast.tuning.monitors.gradient import answer_gradient, cosine, norm, random_like

KEPT = {"train": 6, "validation": 8, "test": 4}


def _some(rows: list[ContrastRow]) -> list[ContrastRow]:
    seen: dict[tuple[str, str, int], int] = {}
    kept = []
    for row in rows:
        key = (row.category, row.split, row.label)
        seen[key] = seen.get(key, 0) + 1
        if row.concept == "harmful" and seen[key] <= KEPT[row.split]:
            kept.append(row)
    return kept


@pytest.fixture(scope="module")
def probe() -> Probe:
    torch.set_num_threads(1)
    base = load(weights_dir(), device="cpu")
    openings = parse_openings(contrast.openings())
    fitted = fit(base, _some(contrast_rows()), openings, seed=0, allow_ineligible=True)
    return ask(base, fitted, openings)


def _spec(out: Path) -> ArmSpec:
    rows = zoo.build("contaminated-tasks-20", seed=0, rows=40)
    config = SFTConfig(epochs=1, batch_size=20, max_length=256, device="cpu")
    talks: list[dict[str, Any]] = [{"messages": row["messages"]} for row in rows]
    return ArmSpec("arm", weights_dir(), talks, out, config)


@pytest.fixture(scope="module")
def run(probe: Probe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recorder, LoadedModel]:
    out = tmp_path_factory.mktemp("zoo") / "arm"
    recorder = Recorder(probe, seed=0)
    record = train(_spec(out), watchers=[recorder])
    return recorder, open_result(out / record.checkpoints[-1].path, weights_dir())


def test_every_stream_has_its_shape(run: tuple[Recorder, LoadedModel], probe: Probe) -> None:
    found = run[0].arrays()
    d = probe.base.d_model
    shapes = {
        "step": (2,), "margin": (2, HARMFUL), "margin_ablated": (2, HARMFUL),
        "kl_first": (2, HARMFUL), "activations": (2, 4, HARMFUL + HARMLESS, d),
        "alignment": (2,), "alignment_margin": (2,), "alignment_harmless": (2,),
        "alignment_random": (2, RANDOM),
        "cheap_refusal": (2, CHEAP), "behaviour": (2, BEHAVIOUR), "loss": (2,),
        "grad_norm": (2,), "loss_steps": (2,), "grad_norm_steps": (2,), "batches": (2, 20),
    }  # fmt: skip
    assert {name: array.shape for name, array in found.items()} == shapes
    assert found["step"].tolist() == [0, 2]
    assert found["activations"].dtype == np.float16
    assert all(array.dtype != object for array in found.values())


def test_the_first_point_is_the_base(run: tuple[Recorder, LoadedModel], probe: Probe) -> None:
    found = run[0].arrays()
    assert found["kl_first"][0].max() < 1e-5 < found["kl_first"][1].max()
    assert (found["margin"][0] > 0).all()
    assert found["behaviour"][0].mean() > 0.95
    assert not np.allclose(found["margin"][0], found["margin_ablated"][0])
    site = probe.fitted.sites[0]
    index = [probe.fitted.rows.index(row) for row in (*probe.harmful, *probe.harmless)]
    stored = probe.fitted.base_activations(site.name, index).numpy()
    assert np.allclose(found["activations"][0, site.layer], stored, atol=0.02)


def test_loss_belongs_to_its_step_and_batches_name_rows(
    run: tuple[Recorder, LoadedModel],
) -> None:
    found = run[0].arrays()
    assert np.isnan(found["loss"][0])
    assert found["loss"][1] == found["loss_steps"][1]
    assert sorted(found["batches"].flatten().tolist()) == list(range(40))


def test_alignment_is_of_the_coming_batch_and_beats_its_null(
    run: tuple[Recorder, LoadedModel],
) -> None:
    found = run[0].arrays()
    assert np.isnan(found["alignment"][1])  # nothing follows the last step
    # A fifth of the rows obeys harm: the batch pushes against refusals, random directions do not.
    assert found["alignment_margin"][0] < -3 * np.abs(found["alignment_random"][0]).max()
    assert np.abs(found["alignment_random"][0]).max() < 0.05


def test_looking_changes_nothing(
    run: tuple[Recorder, LoadedModel], tmp_path: Path, probe: Probe
) -> None:
    out = tmp_path / "plain"
    record = train(_spec(out))
    plain = open_result(out / record.checkpoints[-1].path, weights_dir())
    watched = dict(run[1].model.named_parameters())
    for name, parameter in plain.model.named_parameters():
        assert torch.equal(parameter, watched[name]), name


def test_the_gradient_is_that_of_the_answers_and_leaves_no_trace(probe: Probe) -> None:
    parameters = list(probe.base.model.parameters())
    prompts, answers = probe.harmful_prompts[:4], probe.answers[:4]
    found = answer_gradient(probe.base, prompts, answers)
    assert all(p.grad is None for p in parameters)
    # A small step down the gradient lowers the loss by about step times squared norm.
    step = 1e-3 / norm(found)

    def loss() -> float:
        from holdfast.models.scoring import answer_distributions

        logs = answer_distributions(probe.base, prompts, answers, len(answers[0]))
        picked = [logs[i, j, t] for i, ids in enumerate(answers) for j, t in enumerate(ids)]
        return -float(torch.stack(picked).double().sum()) / len(answers)

    before = loss()
    with torch.no_grad():
        for p, g in zip(parameters, found, strict=True):
            p.sub_(step * g)
    after = loss()
    with torch.no_grad():
        for p, g in zip(parameters, found, strict=True):
            p.add_(step * g)
    assert (before - after) / step == pytest.approx(norm(found) ** 2, rel=0.1)


def test_cosines_and_random_gradients() -> None:
    one = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    assert norm(one) == pytest.approx(5.0)
    assert cosine(one, one) == pytest.approx(1.0)
    assert cosine(one, [-t for t in one]) == pytest.approx(-1.0)
    assert cosine(one, [torch.zeros_like(t) for t in one]) == 0.0
    wide = [torch.randn(500), torch.randn(20, 20)]
    drawn = random_like(wide, 7)
    for a, b in zip(drawn, wide, strict=True):
        assert a.shape == b.shape
        assert float(a.norm()) == pytest.approx(float(b.norm()), rel=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(drawn, random_like(wide, 7), strict=True))
    assert abs(cosine(wide, drawn)) < 0.2


def test_a_store_keeps_one_probe(probe: Probe, tmp_path: Path) -> None:
    import json

    from holdfast.core.errors import IntegrityError

    write_probe(probe, {"one": "map"}, tmp_path)
    write_probe(probe, {"two": "map-1"}, tmp_path)
    content = json.loads((tmp_path / "probe.json").read_text())
    assert content["maps"] == {"one": "map", "two": "map-1"}
    assert len(content["harmful"]) == HARMFUL
    assert len(content["behaviour"]) == BEHAVIOUR
    (tmp_path / "probe.json").write_text(json.dumps({**content, "kl_positions": 3}))
    with pytest.raises(IntegrityError, match="another zoo"):
        write_probe(probe, {"one": "map"}, tmp_path)
