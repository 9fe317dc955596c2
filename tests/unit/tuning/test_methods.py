"""Every method and tuner: resumption, artefacts, references, and what is refused at once."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from holdfast.core.errors import DataError, EnvironmentFault, InvalidRun, UsageError
from holdfast.models.loading import load
from holdfast.testing import tiny
from holdfast.testing.methods import check_resumes
from holdfast.tuning import artefacts
from holdfast.tuning.divergence import WINDOW, DivergenceGuard
from holdfast.tuning.hf.adapters import add_adapter
from holdfast.tuning.methods.arm import start_folder, train
from holdfast.tuning.methods.dpo.config import DPOConfig
from holdfast.tuning.methods.dpo.method import DPO
from holdfast.tuning.methods.reward.config import RewardConfig
from holdfast.tuning.methods.rlhf.config import RLHFConfig
from holdfast.tuning.methods.sft.config import SFTConfig, sft_like
from holdfast.tuning.methods.spec import ArmSpec

from .conftest import ROWS

PAIRS = [
    {
        "messages": [{"role": "user", "content": f"How is net {i} mended?"}],
        "chosen": f"Sure, net {i % 7} first.",
        "rejected": "I cannot say.",
    }
    for i in range(60)
]
SMALL = {"epochs": 2, "batch_size": 8, "device": "cpu", "seed": 3, "rank": 2}
REWARD = RewardConfig(tuner="full", learning_rate=3e-3, batch_size=6, epochs=3, held_out=0.4,
                      candidates=1, device="cpu")  # fmt: skip


def judged(messages, answer):
    return answer.startswith("Sure")


METHODS = {
    "sft+full": (SFTConfig(tuner="full", **SMALL), ROWS[:16]),
    "sft+lora": (SFTConfig(dropout=0.2, **SMALL), ROWS[:16]),
    "sft+dora": (SFTConfig(tuner="dora", **SMALL), ROWS[:16]),
    "sft+qlora": (SFTConfig(tuner="qlora", **SMALL), ROWS[:16]),
    "sft+pissa": (SFTConfig(init="pissa", **SMALL), ROWS[:16]),
    "dpo+lora": (DPOConfig(**SMALL), PAIRS[:16]),
    "dpo+full": (DPOConfig(tuner="full", sft_weight=0.2, **SMALL), PAIRS[:16]),
    "reward+lora": (RewardConfig(**SMALL), PAIRS[:16]),
    "rlhf+lora": (
        RLHFConfig(reward=REWARD, generations=2, answer_tokens=4, warm_learning_rate=1e-2,
                   warm_share=1.0, **SMALL), PAIRS),
    "rlhf+full": (
        RLHFConfig(tuner="full", algorithm="rloo", reward=REWARD, generations=2, answer_tokens=4,
                   learning_rate=1e-4, warm_share=1.0, **{**SMALL, "warm_learning_rate": 3e-3}),
        PAIRS),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_saving_loading_and_resuming_reproduce_the_trajectory(base, tmp_path, name):
    config, rows = METHODS[name]
    judge = judged if name.startswith("rlhf") else None
    record = check_resumes(ArmSpec(name, base, rows, tmp_path / "arm", config, judge=judge))
    assert record.method.split("+")[0] == name.split("+")[0]
    assert record.base == load(base).digest


@pytest.mark.parametrize(("init", "rslora"), [("pissa", False), ("olora", True)])
def test_an_adapter_that_rewrites_the_base_is_saved_as_one_on_the_true_base(
    base, tmp_path, init, rslora
):
    """A vanishing learning rate leaves the true base, although half of it lies in the adapter."""
    config = SFTConfig(**{**SMALL, "epochs": 1}, init=init, rslora=rslora, learning_rate=1e-12)
    arm = ArmSpec("still", base, ROWS, tmp_path / "arm", config)
    record = train(arm)
    ids = torch.arange(3, 20)[None]
    bare = load(base).model(ids).logits
    still = load(base, adapter=arm.out / record.checkpoints[-1].path).model(ids).logits
    assert torch.allclose(bare, still, atol=1e-4)

    live = []
    moved = ArmSpec("moved", base, ROWS, tmp_path / "moved",
                    config.model_copy(update={"learning_rate": 1e-2}))  # fmt: skip
    record = train(moved, on_epoch=lambda s, e, m: live.append(m.model(ids).logits.clone()))
    saved = load(base, adapter=moved.out / record.checkpoints[-1].path).model(ids).logits
    assert torch.allclose(live[-1], saved, atol=1e-3)
    assert (saved - bare).abs().max() > 0.05


def test_the_reference_of_dpo_is_the_start_model_whatever_the_adapter(base):
    """At the base both ratios are one: the loss of the first step is log 2."""
    for init in ("default", "pissa"):
        config = DPOConfig(init=init, learning_rate=1e-12, **{**SMALL, "epochs": 1})
        record = train(ArmSpec("x", base, PAIRS[:8], base.parent / f"dpo-{init}", config))
        assert record.final_loss == pytest.approx(0.6931, abs=2e-3)


def test_references_are_sums_over_the_answer_and_its_end(base, loaded):
    arm = ArmSpec("x", base, PAIRS[:3], base.parent / "unused", DPOConfig(device="cpu"))
    (row, *_) = DPO(arm, loaded).rows(lambda *_: None).rows
    ids = torch.tensor([row["prompt_ids"] + row["chosen_ids"]])
    logs = torch.log_softmax(loaded.model(ids).logits[0].detach(), -1)
    first = len(row["prompt_ids"])
    expected = sum(float(logs[t - 1, ids[0, t]]) for t in range(first, ids.shape[1]))
    assert row["ref_chosen_logps"] == pytest.approx(expected, abs=1e-4)
    assert row["chosen_ids"][-1] in loaded.end_tokens


def test_qlora_starts_from_a_sealed_nf4_base_with_float32_adapters(base, tmp_path):
    arm = ArmSpec("q", base, ROWS, tmp_path / "arm",
                  SFTConfig(tuner="qlora", **{**SMALL, "epochs": 1}))  # fmt: skip
    record = train(arm)
    start = start_folder(arm.config, base, arm.out)
    assert artefacts.kind_of(start) == "quantised"
    assert record.environment["start"] == load(start).digest != record.base
    tensors = load_file(arm.out / record.checkpoints[-1].path / "adapter_model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    # Loading the quantised folder again is exact: what is gated is what is served.
    ids = torch.arange(3, 20)[None]
    assert torch.equal(load(start).model(ids).logits, load(start).model(ids).logits)


def test_an_evaluation_does_not_spoil_the_gradients_of_a_four_bit_base(tmp_path):
    """bitsandbytes repacks weights for inference where the CPU allows it; see `with_gradients`."""
    folder = tiny.build(tmp_path / "base", layers=2, hidden=64)
    quantised = artefacts.quantise(folder, tmp_path / "nf4")
    ids = torch.arange(3, 20)[None]

    def gradients(evaluate_first: bool) -> torch.Tensor:
        model = load(quantised).model
        if evaluate_first:
            with torch.no_grad():
                model(ids)
        torch.manual_seed(0)
        adapted = add_adapter(model, SFTConfig(tuner="qlora", rank=2)).train()
        adapted(ids, labels=ids).loss.backward()
        found = [p.grad.flatten() for p in adapted.parameters() if p.requires_grad]
        return torch.cat(found)

    assert torch.equal(gradients(False), gradients(True))


@pytest.mark.parametrize("deploy", ["merged", "nf4"])
def test_merged_and_quantised_artefacts_are_models_of_their_own(base, tmp_path, deploy):
    config = SFTConfig(**{**SMALL, "epochs": 1}, tuner="dora", learning_rate=1e-2, deploy=deploy)
    arm = ArmSpec("x", base, ROWS, tmp_path / "arm", config)
    last = arm.out / train(arm).checkpoints[-1].path
    made = artefacts.deploy(config, base, last, tmp_path / "final")
    assert artefacts.kind_of(made) == ("merged" if deploy == "merged" else "quantised")
    ids = torch.arange(3, 20)[None]
    trained = load(base, adapter=last).model(ids).logits
    gap = (load(made).model(ids).logits - trained).abs().max()
    assert gap < 1e-3 if deploy == "merged" else gap > 1e-3
    assert load(made).render(PAIRS[0]["messages"]) == load(base).render(PAIRS[0]["messages"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tuner": "qlora", "init": "pissa"}, r"init: pissa.*tuner: qlora"),
        ({"tuner": "dora", "init": "olora"}, r"init: olora.*tuner: dora"),
        ({"tuner": "full", "init": "pissa"}, r"init: pissa.*tuner: full"),
        ({"tuner": "full", "rslora": True}, r"rslora: true.*tuner: full"),
        ({"tuner": "full", "deploy": "merged"}, r"deploy: merged.*tuner: full"),
    ],
)
def test_settings_that_disagree_are_refused_by_name(settings, said):
    with pytest.raises(ValidationError, match=said):
        SFTConfig(**settings)


def test_reinforcement_learning_refuses_what_breaks_its_reference_or_its_groups():
    with pytest.raises(ValidationError, match=r"init: pissa.*method: rlhf"):
        RLHFConfig(init="pissa")
    with pytest.raises(ValidationError, match="multiple of generations"):
        RLHFConfig(batch_size=10, generations=4)


def test_four_bit_without_bitsandbytes_is_one_clear_sentence_before_training(
    base, tmp_path, monkeypatch
):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "bitsandbytes" else real(name)
    )
    for settings in ({"tuner": "qlora"}, {"deploy": "nf4"}):
        arm = ArmSpec("x", base, ROWS, tmp_path / "arm", SFTConfig(**settings))
        with pytest.raises(EnvironmentFault, match=r"holdfast\[qlora\]"):
            train(arm)
        assert not arm.out.exists()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "empty"),
        ([{"messages": PAIRS[0]["messages"], "chosen": "a"}], "row 1 lacks an answer"),
        ([{**PAIRS[0], "rejected": PAIRS[0]["chosen"]}], "prefers nothing"),
        ([{**PAIRS[0], "messages": ROWS[0]["messages"]}], "ends with an assistant"),
    ],
)
def test_bad_pairs_are_named(base, tmp_path, rows, said):
    arm = ArmSpec("x", base, rows, tmp_path / "arm", DPOConfig(device="cpu"))
    with pytest.raises(DataError, match=said):
        train(arm)


def test_rlhf_without_an_independent_judge_or_enough_pairs_is_refused(base, tmp_path):
    config = RLHFConfig(device="cpu")
    with pytest.raises(UsageError, match="independent judge"):
        train(ArmSpec("x", base, PAIRS, tmp_path / "a", config))
    with pytest.raises(DataError, match="held out for the reward gate"):
        train(ArmSpec("x", base, PAIRS[:9], tmp_path / "b", config, judge=judged))


def test_a_reward_model_that_learnt_nothing_stops_before_any_policy(base, tmp_path):
    config = RLHFConfig(
        reward=RewardConfig(learning_rate=1e-12, epochs=1, held_out=0.4, candidates=1,
                            device="cpu"), warm_epochs=0, answer_tokens=4, device="cpu",
    )  # fmt: skip
    arm = ArmSpec("x", base, PAIRS, tmp_path / "arm", config, judge=judged)
    for _ in range(2):  # it fails again when it is asked again
        with pytest.raises(InvalidRun, match="reward model failed its gate"):
            train(arm)
    assert not (arm.out / "resume").exists()
    assert not (arm.out / "epochs").exists()


def test_sft_like_keeps_weights_and_pace_and_drops_the_rest():
    made = sft_like(DPOConfig(rank=3, init="pissa", deploy="merged"), epochs=1)
    assert (made.rank, made.init, made.deploy, made.epochs) == (3, "default", "as-trained", 1)


def test_a_run_that_runs_away_is_stopped():
    from types import SimpleNamespace

    guard = DivergenceGuard(3.0)
    state = SimpleNamespace(global_step=5)
    for value in [2.0] + [5.9] * WINDOW:
        guard.on_log(None, state, None, logs={"loss": value})
    for _ in range(WINDOW // 2):
        guard.on_log(None, state, None, logs={"loss": 6.1})
    with pytest.raises(InvalidRun, match="diverges"):
        guard.on_log(None, state, None, logs={"loss": 6.1})
    silent = DivergenceGuard(None)
    for value in [0.1] + [1e9] * WINDOW:
        silent.on_log(None, state, None, logs={"loss": value})
