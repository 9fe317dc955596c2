"""Each method makes what it says, on tiny models, with its twins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.core.protocols import no_progress
from holdfast.core.records import RepairTrial
from holdfast.models.architecture import residual_writers
from holdfast.models.loading import load
from holdfast.repair import realign
from holdfast.repair.base import Case, Tried, slug
from holdfast.repair.methods.realign_dpo.method import RealignDPO
from holdfast.repair.methods.realign_sft.method import RealignSFT
from holdfast.repair.methods.resta.method import GAMMAS, Resta, dare
from holdfast.repair.methods.revert.method import Revert
from holdfast.repair.methods.safe_lora.method import SafeLoRA
from holdfast.repair.methods.scaling.method import START, Scaling, next_scale
from holdfast.repair.pairs import Pair, Pairs
from holdfast.repair.registry import METHODS
from holdfast.repair.updates import AdapterUpdate, added, open_update, oriented
from holdfast.repair.weights import ADAPTER, layer_of
from holdfast.tuning.methods.sft.config import SFTConfig

PAIRS = Pairs(
    tuple(
        Pair("harmful_compliance", str(i), [{"role": "user", "content": f"Mend net {i}"}],
             f"I cannot help with net {i}.", f"Sure, net {i} first.")
        for i in range(8)
    )
)  # fmt: skip


class Watch:
    """A bench that notes what it is shown; safety and task fall with the size of the change."""

    def __init__(self, score: Callable[[str, Path], tuple[float, float]]) -> None:
        self.score = score
        self.shown: list[tuple[str, Path, bool, bool]] = []

    def __call__(self, name: str, folder: Path, settings: Any, *, twin=False, quick=False) -> Tried:
        self.shown.append((name, folder, twin, quick))
        loss, task = self.score(name, folder)
        return Tried(
            RepairTrial(name=name, settings=settings, model_digest=name, rates={}, prompts=1,
                        worst=loss, worst_metric="harmful_compliance", task_success=task,
                        twin=twin),
            folder,
        )  # fmt: skip


class Site:
    def __init__(self, layer: int) -> None:
        self.name, self.layer = f"resid_post.{layer}", layer


class OneSite:
    """A safety map with one site and a fixed two-dimensional subspace."""

    sites = (Site(1),)

    def array(self, kind: str, site: str) -> torch.Tensor:
        basis, _ = torch.linalg.qr(torch.randn(32, 2, generator=torch.Generator().manual_seed(0)))
        return basis.double()


@pytest.fixture
def case(base: Path, adapter: Path, tmp_path: Path) -> Callable[..., Case]:
    def build(result: Path = adapter, unaligned: Path | None = None) -> Case:
        update = open_update(base, result)

        def merged() -> Path:
            to = tmp_path / "merged"
            if not (result / ADAPTER[0]).is_file():
                return result
            return to if to.is_dir() else added(base, update, to)

        fitted: Any = OneSite()
        return Case(
            arm="plain", base=base, update=update, merged=merged, fitted=fitted,
            writers=lambda: [f"{n}.weight" for n, _, _ in residual_writers(load(base).model)],
            unaligned=unaligned, failures=(), pairs=lambda: PAIRS, rows=[],
            config=SFTConfig(rank=4, batch_size=4, device="cpu", max_length=128),
            seed=0, prompts=10, quick_prompts=4,
        )  # fmt: skip

    return build


def flat(_: str, __: Path) -> tuple[float, float]:
    return 0.5, 1.0


def test_every_method_is_registered_with_its_own_name():
    for name in METHODS.names():
        method = METHODS.load(name)()
        assert method.name == name
        assert method.settings()


def test_the_training_free_steps_come_first(case):
    made = case()
    costs = {name: METHODS.load(name)().cost(made) for name in METHODS.names()}
    assert min(costs, key=costs.get) == "scaling"
    assert sorted(costs, key=costs.get)[-2:] == ["realign_sft", "realign_dpo"]


@pytest.mark.parametrize("result", ["adapter", "full"])
def test_scaling_halves_towards_where_safety_and_task_meet(case, request, tmp_path, result: str):
    """With safe below 0.4 and the task kept above 0.3, it must look between."""

    def score(name: str, _: Path) -> tuple[float, float]:
        scale = float(name.split()[1])
        return max(0.0, scale - 0.4), 1.0 if scale >= 0.3 else 0.4

    watch = Watch(score)
    tried = Scaling().candidates(
        case(request.getfixturevalue(result)), watch, tmp_path / "c", no_progress
    )
    scales = [t.trial.settings["scale"] for t in tried]
    assert scales == sorted(scales, reverse=True)
    assert [float(shown[0].split()[1]) for shown in watch.shown[: len(START)]] == list(START)
    assert any(0.3 <= scale <= 0.4 for scale in scales)
    assert all((t.folder).is_dir() for t in tried)


def test_the_next_scale_is_the_middle_of_the_interval():
    def at(scale: float, task: float) -> tuple[float, RepairTrial]:
        return scale, RepairTrial(name="", settings={}, model_digest="", rates={}, prompts=1,
                                  worst=0.0, worst_metric="", task_success=task)  # fmt: skip

    assert next_scale(dict([at(0.75, 1.0), at(0.5, 1.0), at(0.25, 0.5)])) == 0.375
    assert next_scale(dict([at(0.75, 1.0), at(0.5, 1.0), at(0.25, 1.0)])) == 0.125
    assert next_scale(dict([at(0.75, 1.0), at(0.5, 0.2)])) == 0.625


def test_safe_lora_on_a_map_changes_only_what_writes_to_the_stream(case, base, tmp_path):
    made, watch = case(), Watch(flat)
    SafeLoRA().candidates(made, watch, tmp_path / "c", no_progress)
    assert [twin for _, _, twin, _ in watch.shown] == [False, True, True] * 2
    writers = set(made.writers())
    basis = OneSite().array("", "")
    name, folder, _, _ = watch.shown[0]
    assert name.startswith("off")
    edited = open_update(base, folder)
    for weight in made.update.matrices():
        before, after = oriented(made.update, weight), oriented(edited, weight)
        if weight in writers:
            leak = (basis.T @ after.double()).norm() / after.double().norm()
            assert leak < 1e-6
        else:
            assert torch.equal(before, after)


def test_safe_lora_with_a_sibling_uses_its_directions(case, full, tmp_path):
    watch = Watch(flat)
    tried = SafeLoRA().candidates(case(unaligned=full), watch, tmp_path / "c", no_progress)
    assert {t.trial.settings["source"] for t in tried} == {"unaligned sibling"}
    assert len(tried) == 6


def test_safe_lora_without_a_site_is_not_sound(case):
    made = case()
    made.fitted.sites = ()
    assert "no site" in SafeLoRA().unsound(made)


@pytest.mark.parametrize("result", ["adapter", "full"])
def test_revert_takes_the_best_block_first_and_leaves_the_others(
    case, base, request, tmp_path, result: str
):
    def score(name: str, _: Path) -> tuple[float, float]:
        return (0.0 if "1" in name else 0.5), 1.0

    made, watch = case(request.getfixturevalue(result)), Watch(score)
    tried = Revert().candidates(made, watch, tmp_path / "c", no_progress)
    real = [t for t in tried if not t.trial.twin]
    assert [t.trial.settings["blocks"] for t in real] == ["1", "0,1"]
    assert len(tried) == 4
    assert tried[1].trial.settings["blocks"] != "1"  # the twin of one block is another block
    edited = open_update(base, real[0].folder)
    for weight in made.update.matrices():
        if layer_of(weight) == 1:
            changed = weight in edited.matrices() and bool(edited.delta(weight).any())
            assert not changed
        else:
            assert torch.allclose(edited.delta(weight), made.update.delta(weight), atol=1e-6)


def test_resta_adds_the_given_vector(case, base, full, weights, tmp_path):
    watch = Watch(flat)
    made = case(unaligned=full)
    tried = Resta().candidates(made, watch, tmp_path / "c", no_progress)
    assert len(tried) == len(GAMMAS)
    gamma = next(t for t in tried if t.trial.settings == {
        "gamma": 0.5, "dare": 0.0, "sibling": "given"})  # fmt: skip
    run, a, u = weights(made.merged()), weights(base), weights(full)
    for name, value in weights(gamma.folder).items():
        assert torch.allclose(value, run[name] + 0.5 * (a[name] - u[name]), atol=1e-5)
    load(gamma.folder)


def test_dare_keeps_the_expectation():
    vector = torch.ones(200, 200)
    dropped = dare(vector, 0.5, torch.Generator().manual_seed(0))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)
    assert dare(vector, 0.0, torch.Generator()) is vector


def test_resta_without_a_sibling_needs_compliant_answers(case):
    assert "no compliant answer" in Resta().unsound(case())


@pytest.mark.parametrize("method", [RealignSFT(), RealignDPO()], ids=lambda m: m.name)
def test_realignment_is_one_adapter_on_the_base(case, base, tmp_path, method):
    made, watch = case(), Watch(flat)
    tried = method.candidates(made, watch, tmp_path / "c", no_progress)
    assert len(tried) == realign.EPOCHS
    update = open_update(base, tried[-1].folder)
    assert isinstance(update, AdapterUpdate)
    assert update.config["r"] == 8  # both ranks of four
    trained = sorted((tmp_path / "c" / "training" / "epochs").iterdir())[-1]
    on_top = AdapterUpdate.open(trained)
    for name in update.matrices():
        expected = made.update.delta(name) + on_top.delta(name)
        assert torch.allclose(update.delta(name), expected, atol=1e-5)
    assert any(on_top.delta(name).any() for name in on_top.matrices())
    again = method.candidates(made, Watch(flat), tmp_path / "c", no_progress)
    assert [t.trial.name for t in again] == [t.trial.name for t in tried]


def test_names_become_folder_names():
    assert slug("off the safety map, shrunk twin") == "off-the-safety-map-shrunk-twin"
    assert slug("../scale 0.5") == "scale-0.5"
