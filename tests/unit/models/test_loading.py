"""What loads, and what is refused in one clear sentence."""

from __future__ import annotations

import json
import shutil

import huggingface_hub.constants
import pytest
import torch

from holdfast.core.errors import EnvironmentFault, HoldfastError, IntegrityError, UsageError
from holdfast.models.architecture import unwrap
from holdfast.models.loading import load
from holdfast.testing import tiny


@pytest.fixture
def copy(folders, tmp_path):
    """A private copy of a tiny model and its adapter, to be damaged."""
    base = folders("llama")
    shutil.copytree(base, tmp_path / "model")
    shutil.copytree(base.with_name("llama-adapter"), tmp_path / "adapter")
    return tmp_path / "model"


def truncate(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def check_sentence(error: HoldfastError):
    assert "\n" not in str(error)
    assert len(str(error)) < 600


def test_a_folder_loads_with_identity(make, folders):
    loaded = make("llama", True)
    base = make("llama")
    assert loaded.digest != base.digest
    assert loaded.ref.kind == "adapter"
    assert base.ref.kind == "base"
    assert base.ref.environment["chat_template"] == "own"
    assert (base.n_layers, base.d_model, base.max_context) == (3, 32, 256)
    assert base.name == "llama"
    assert not base.model.training
    assert load(folders("llama")).digest == base.digest


def test_dtype_is_the_checkpoints_own_unless_given(copy):
    edit(copy / "config.json", dtype="bfloat16")
    assert next(load(copy, dtype="float32").model.parameters()).dtype == torch.float32
    half = load(copy, dtype="bfloat16")
    assert next(half.model.parameters()).dtype == torch.bfloat16
    with pytest.raises(UsageError, match="unknown dtype"):
        load(copy, dtype="int8")
    with pytest.raises(UsageError, match="unknown dtype"):
        load(copy, dtype="nonsense")


def test_scores_of_a_bfloat16_model_are_float32(copy, chats):
    from holdfast.models import activations, scoring

    loaded = load(copy, dtype="bfloat16")
    scores = scoring.opening_scores(loaded, chats, ["Sure, here", "I cannot"])
    assert scores.dtype == torch.float32
    logs = scoring.answer_distributions(loaded, chats, [[5, 6]] * len(chats), 3)
    torch.testing.assert_close(logs.exp().sum(-1), torch.ones(len(chats), 3))
    assert activations.last_prompt(loaded, chats, [1])[1].dtype == torch.float32


@pytest.mark.parametrize("source", ["/no/such/folder", "./nothing", "a/b/c"])
def test_a_missing_folder_is_a_usage_error(source):
    with pytest.raises(UsageError, match="is no model folder"):
        load(source)


def test_a_folder_without_a_model_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="config"):
        load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.999])
def test_truncated_weights_are_an_integrity_error(copy, share):
    truncate(copy / "model.safetensors", share)
    with pytest.raises(IntegrityError, match="safetensors|corrupted") as caught:
        load(copy)
    check_sentence(caught.value)


def test_weights_that_lack_a_tensor_are_not_completed_at_random(copy):
    edit(copy / "config.json", num_hidden_layers=4)
    with pytest.raises(IntegrityError, match="absent or misshapen") as caught:
        load(copy)
    check_sentence(caught.value)


def test_weights_of_another_shape_are_an_integrity_error(copy):
    edit(copy / "config.json", intermediate_size=80)
    with pytest.raises(IntegrityError, match="corrupted") as caught:
        load(copy)
    check_sentence(caught.value)


def test_pickled_weights_are_never_opened(copy):
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"\x80\x04boom")
    with pytest.raises(HoldfastError, match="safetensors|pickle"):
        load(copy)


def test_a_config_that_is_no_json_is_named(copy):
    (copy / "config.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"config\.json is not readable"):
        load(copy)


def test_code_of_the_repository_is_not_run(copy):
    (copy / "modeling_evil.py").write_text("raise SystemExit('ran foreign code')\n")
    edit(
        copy / "config.json", model_type="evil",
        auto_map={"AutoConfig": "modeling_evil.C", "AutoModelForCausalLM": "modeling_evil.M"},
    )  # fmt: skip
    with pytest.raises(UsageError, match="does not know; got evil; .*trust_remote_code"):
        load(copy)


def test_a_missing_tokenizer_is_a_usage_error(copy):
    for path in copy.glob("*token*"):
        path.unlink()
    with pytest.raises(UsageError, match="tokenizer") as caught:
        load(copy)
    check_sentence(caught.value)


def test_a_device_that_is_not_there(copy):
    with pytest.raises(UsageError, match="unknown device"):
        load(copy, device="toaster")
    if not torch.cuda.is_available():
        with pytest.raises(EnvironmentFault, match="CUDA"):
            load(copy, device="cuda")


def test_auto_device_is_where_the_model_ends_up(copy):
    loaded = load(copy, device="auto")
    assert loaded.device == next(unwrap(loaded.model).parameters()).device


def test_a_truncated_adapter_is_an_integrity_error(copy):
    adapter = copy.with_name("adapter")
    truncate(adapter / "adapter_model.safetensors")
    with pytest.raises(IntegrityError) as caught:
        load(copy, adapter=adapter)
    check_sentence(caught.value)


def test_an_adapter_that_lacks_tensors_is_not_completed_at_random(copy):
    adapter = copy.with_name("adapter")
    targets = json.loads((adapter / "adapter_config.json").read_text())["target_modules"]
    edit(adapter / "adapter_config.json", target_modules=[*targets, "lm_head"])
    with pytest.raises(IntegrityError, match="does not match its configuration"):
        load(copy, adapter=adapter)


def test_an_adapter_of_another_base_does_not_fit(copy, tmp_path):
    other = tiny.build(tmp_path / "wide", "llama", hidden=64)
    with pytest.raises(IntegrityError, match="does not fit this base") as caught:
        load(other, adapter=copy.with_name("adapter"))
    check_sentence(caught.value)


def test_a_pickled_or_missing_adapter_is_refused(copy):
    adapter = copy.with_name("adapter")
    (adapter / "adapter_model.safetensors").unlink()
    (adapter / "adapter_model.bin").write_bytes(b"\x80\x04boom")
    with pytest.raises(HoldfastError, match="adapter|pickle"):
        load(copy, adapter=adapter)


def test_a_hub_name_loads_from_the_cache_while_offline(folders, tmp_path, monkeypatch):
    """The cache's own layout: files are links into a folder of blobs."""
    repo = tmp_path / "models--quay--tiny"
    commit, snapshot = "a" * 40, repo / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    for number, path in enumerate(sorted(folders("llama").iterdir())):
        shutil.copy(path, repo / "blobs" / f"{number:040d}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number:040d}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert load("quay/tiny").name == "quay/tiny"
    assert load("quay/tiny").digest == load(folders("llama")).digest
    with pytest.raises(UsageError, match="neither a folder nor a model in the local hub cache"):
        load("quay/absent")


def test_nothing_is_printed(copy, capfd):
    load(copy, adapter=copy.with_name("adapter"))
    out, err = capfd.readouterr()
    assert out == ""
    assert "Loading" not in err
