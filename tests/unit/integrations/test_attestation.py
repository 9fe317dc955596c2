"""Weights without an attestation, or with that of another training, are refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from holdfast.cli.main import main
from holdfast.core.errors import DataError, IntegrityError, InvalidRun, RefusedError
from holdfast.core.records import Attestation, ProtectionReport
from holdfast.integrations.sealing import seal
from holdfast.vault import attest


def _record(**changed):
    plain = {
        "framework": "x 1", "protection": "{}", "steps": 4, "watched": 0, "alarms": (),
        "protections": (ProtectionReport(name="replay_kl", due=2, guarded=2),), "files": {},
    }  # fmt: skip
    return Attestation(**{**plain, **changed})


@pytest.fixture
def folder(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "adapter_model.safetensors")
    return tmp_path


def test_a_sealed_folder_is_accepted_and_names_its_files(folder):
    attest.seal(folder, _record())
    assert set(attest.verify(folder).files) == {"adapter_model.safetensors"}


def test_weights_without_an_attestation_are_refused(folder):
    with pytest.raises(RefusedError, match="nothing shows"):
        attest.verify(folder)


def test_weights_trained_again_are_refused(folder):
    attest.seal(folder, _record())
    save_file({"a": torch.ones(2)}, folder / "adapter_model.safetensors")
    with pytest.raises(IntegrityError, match="other weights"):
        attest.verify(folder)


@pytest.mark.parametrize("change", ["added", "gone"])
def test_a_weight_file_more_or_less_is_refused(folder, change):
    save_file({"b": torch.ones(2)}, folder / "model.safetensors")
    attest.seal(folder, _record())
    if change == "added":
        save_file({"c": torch.ones(2)}, folder / "other.safetensors")
    else:
        (folder / "model.safetensors").unlink()
    with pytest.raises(IntegrityError, match="other weights"):
        attest.verify(folder)


@pytest.mark.parametrize(
    ("changed", "got"),
    [
        ({"steps": 0}, "no step seen"),
        ({"protections": (ProtectionReport(name="g", due=4, guarded=3),)}, "3 of 4"),
        ({"protections": (ProtectionReport(name="g", due=0, guarded=0),)}, "0 of 0"),
        ({"protections": ()}, "neither"),
    ],
)
def test_an_incomplete_training_is_refused(folder, changed, got):
    attest.seal(folder, _record(**changed))
    with pytest.raises(RefusedError, match=got):
        attest.verify(folder)


def test_no_weights_and_no_record(tmp_path, folder):
    with pytest.raises(DataError, match="no weights"):
        attest.verify(tmp_path / "..")
    (folder / attest.FILE).write_text("{", "utf-8")
    with pytest.raises(IntegrityError, match="readable"):
        attest.verify(folder)


def _callback(**changed):
    plain = {
        "protection": None, "weights_step": 3, "points": [1], "alarms": (), "finished": True,
        "protection_reports": lambda: (),
    }  # fmt: skip
    return SimpleNamespace(**{**plain, **changed})


@pytest.mark.parametrize(
    ("changed", "got"),
    [
        ({"weights_step": 0}, "no step"),
        ({"points": []}, "neither"),
        ({"finished": False}, "goes on"),
    ],
)
def test_a_callback_that_was_dropped_attests_nothing(folder, changed, got):
    with pytest.raises(InvalidRun, match=got):
        seal(folder, _callback(**changed))
    assert not (folder / attest.FILE).exists()


def test_only_the_first_process_writes(folder, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert seal(folder, _callback()).files == {}
    assert not (folder / attest.FILE).exists()


def test_the_command_fails_closed(folder, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["attest", str(folder)])
    assert ended.value.code == 1
    attest.seal(folder, _record())
    with pytest.raises(SystemExit) as ended:
        main(["attest", str(folder)])
    assert ended.value.code == 0
    assert "guarded 2 of 2 steps" in capsys.readouterr().out
