"""The identity of a model: what changes it, what does not, and what is refused."""

from __future__ import annotations

import shutil

import pytest

from holdfast.core.errors import DataError, IntegrityError, RefusedError
from holdfast.vault.manifest import describe


def test_place_name_readme_and_training_state_are_no_part_of_the_identity(model, tmp_path):
    one = model("one")
    two = tmp_path / "elsewhere"
    shutil.copytree(one, two)
    (two / "README.md").write_text("other")
    for state in ("optimizer.pt", "training_args.bin", "rng_state_0.pth", "trainer_state.json"):
        (two / state).write_bytes(b"\x80")
    first, second = describe(one), describe(two, name="called otherwise")
    assert first.model_digest == second.model_digest
    assert first.name == "one"
    assert second.name == "called otherwise"
    assert sorted(second.components) == ["config.json", "model.safetensors", "tokenizer.json"]


@pytest.mark.parametrize(
    "file",
    ["config.json", "tokenizer.json", "generation_config.json", "chat_template.jinja",
     "tokenizer_config.json", "merges.txt", "vocab.json", "modeling_x.py"],
)  # fmt: skip
def test_every_file_that_decides_behaviour_changes_the_digest(model, file):
    folder = model()
    before = describe(folder).model_digest
    (folder / file).write_text("{ }")
    assert describe(folder).model_digest != before


def test_one_weight_changes_the_digest(model):
    assert describe(model("a", 0.0)).model_digest != describe(model("b", 1e-7)).model_digest


def test_an_adapter_is_its_files_on_its_base(model, adapter):
    base, other, lora = model("base"), model("other", 1.0), adapter()
    on_base, on_other = describe(base, lora), describe(other, lora)
    assert on_base.kind == "adapter"
    assert on_base.lineage == (describe(base).model_digest,)
    assert len({on_base.model_digest, on_other.model_digest, describe(base).model_digest}) == 3
    assert on_base.components == on_other.components
    (lora / "tokenizer.json").write_text("trainers leave one; the base's is used")
    assert describe(base, lora) == on_base


@pytest.mark.parametrize(
    "file", ["pytorch_model.bin", "model.PT", "x.pth", "x.pkl", "x.ckpt", "x.npz", "x.joblib"]
)
def test_pickles_are_refused_even_beside_safetensors(model, file):
    folder = model()
    (folder / file).write_bytes(b"")
    with pytest.raises(RefusedError, match=f"{file} may be a pickle"):
        describe(folder)


def test_links_are_refused(model, tmp_path):
    folder = model()
    (folder / "config.json").rename(tmp_path / "config.json")
    (folder / "config.json").symlink_to(tmp_path / "config.json")
    with pytest.raises(RefusedError, match="config.json is a link"):
        describe(folder)


def test_the_links_of_a_hub_snapshot_are_followed_to_their_blobs_only(model, tmp_path):
    source = model()
    snapshot, blobs = tmp_path / "hub/snapshots/abc", tmp_path / "hub/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in source.iterdir():
        shutil.copy(path, blobs / f"blob-{path.name}")
        (snapshot / path.name).symlink_to(f"../../blobs/blob-{path.name}")
    assert describe(snapshot).model_digest == describe(source).model_digest
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(source / "config.json")
    with pytest.raises(RefusedError, match="config.json is a link"):
        describe(snapshot)
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to("../../blobs/absent")
    with pytest.raises(RefusedError, match="no plain file"):
        describe(snapshot)


def test_damaged_weights_are_named(model):
    folder = model()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=r"model\.safetensors is truncated"):
        describe(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../x"}}')
    with pytest.raises(IntegrityError, match=r"index\.json|truncated"):
        describe(folder)


def test_what_is_no_model_is_said_to_be_none(model, adapter, tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        describe(tmp_path / "absent")
    with pytest.raises(DataError, match=r"holds no config\.json"):
        describe(tmp_path)
    with pytest.raises(DataError, match="an adapter, not a model"):
        describe(adapter())
    folder = model()
    with pytest.raises(DataError, match=r"no adapter_config\.json"):
        describe(folder, folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"holds no \*\.safetensors"):
        describe(folder)
