"""A map of a tiny random model from end to end: save, load, tampering, drift, refusal to map."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from holdfast.core.errors import IntegrityError, InvalidRun, UsageError
from holdfast.geometry.contrast import Openings
from holdfast.geometry.drift import measure, point
from holdfast.geometry.fitted import FittedMap
from holdfast.geometry.probe import ProbeSet
from holdfast.geometry.reading import activations_of
from holdfast.geometry.safety_map import fit
from holdfast.models.loading import load
from holdfast.testing.tiny import build

OPENINGS = Openings(("I cannot help", "I will not"), ("Sure, here", "First"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("models")
    return build(root / "base", layers=4, seed=0), build(root / "other", layers=4, seed=1)


@pytest.fixture(scope="module")
def rows(world):
    return world.make_rows({"train": 6, "validation": 4, "test": 6})


@pytest.fixture(scope="module")
def fitted(folders, rows) -> FittedMap:
    return fit(load(folders[0]), rows, OPENINGS, seed=0, allow_ineligible=True)


def test_an_unaligned_model_fails_loudly(folders, rows) -> None:
    base = load(folders[0])
    scores = {}
    for name, openings in (
        ("one", OPENINGS), ("other", Openings(OPENINGS.compliance, OPENINGS.refusal)),
    ):  # fmt: skip
        try:
            fit(base, rows, openings, seed=0)
        except InvalidRun as error:
            scores[name] = str(error)
    assert scores  # one of the two has a negative margin on most prompts
    assert "nothing to preserve" in next(iter(scores.values()))


def test_the_record_tells_every_site_and_why(fitted, folders) -> None:
    record = fitted.record
    assert [site.layer for site in record.sites] == [0, 1, 2, 3]
    assert "close to the output" in record.sites[3].reason
    assert not record.sites[3].chosen
    assert set(record.subspace_dims) == {site.name for site in fitted.sites}
    assert len(record.floors) == 3 * len(fitted.sites)
    assert len(record.directions) == 5 * len(fitted.sites)
    assert record.base == load(folders[0]).digest


def test_same_seed_same_map(fitted, folders, rows) -> None:
    again = fit(load(folders[0]), rows, OPENINGS, seed=0, allow_ineligible=True)
    assert again.record.digest() == fitted.record.digest()


def test_round_trip_and_tampering(fitted, tmp_path: Path) -> None:
    digest = fitted.save(tmp_path)
    loaded = FittedMap.load(tmp_path)
    assert loaded.record == fitted.record
    assert loaded.record.digest() == digest
    assert loaded.rows == fitted.rows
    for name, tensor in fitted.arrays.items():
        torch.testing.assert_close(loaded.arrays[name], tensor, rtol=0, atol=0)
    for name in ("safety_map.safetensors", "contrast.jsonl", "safety_map.json"):
        content = (tmp_path / name).read_bytes()
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        (tmp_path / name).write_bytes(flipped if name != "safety_map.json" else content[:middle])
        with pytest.raises(IntegrityError, match=name):
            FittedMap.load(tmp_path)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "contrast.jsonl").unlink()
    with pytest.raises(IntegrityError, match="contrast.jsonl"):
        FittedMap.load(tmp_path)


def test_drift_of_another_model_and_none_of_itself(fitted, folders) -> None:
    base, other = (load(folder) for folder in folders)
    with pytest.raises(UsageError, match="is the base"):
        measure(fitted, base, arm="plain", step=0, seed=0)
    zero = measure(fitted, base, arm="plain", step=0, seed=0, resamples=50, allow_identical=True)
    assert all(abs(drift.value) < 1e-5 for drift in zero.drifts)
    report = measure(fitted, other, arm="plain", step=3, seed=0, resamples=50)
    assert report.base == base.digest
    assert report.candidate == other.digest
    rotation = [d for d in report.drifts if d.drift == "subspace_rotation"]
    assert all(d.value > 0.3 for d in rotation)


def test_the_monitor_path(fitted, folders) -> None:
    probe = ProbeSet.pick(fitted, seed=0, harmful=9, harmless=9)
    base, other = (load(folder) for folder in folders)
    zero = point(fitted, probe, activations_of(base, probe.rows, fitted.layers))
    assert all(abs(value) < 1e-4 for value in zero.values())
    moved = point(fitted, probe, activations_of(other, probe.rows, fitted.layers))
    assert max(abs(value) for value in moved.values()) > 0.1


def test_commands(folders, rows, tmp_path: Path) -> None:
    from holdfast.cli.drift import command as drift
    from holdfast.cli.map import command as map_command

    contrast, openings = tmp_path / "c.jsonl", tmp_path / "o.json"
    contrast.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    openings.write_text(json.dumps(asdict(OPENINGS)))
    runner, out = CliRunner(), tmp_path / "map"
    arguments = [str(folders[0]), "--contrast", str(contrast), "--openings", str(openings),
                 "--out", str(out), "--allow-ineligible"]  # fmt: skip
    result = runner.invoke(map_command, arguments)
    assert result.exit_code == 0, result.output
    assert "resid_post.2" in result.output
    result = runner.invoke(drift, ["--map", str(out), str(folders[1]), "--resamples", "50"])
    assert result.exit_code == 0, result.output
    assert "subspace_rotation" in result.output
    result = runner.invoke(
        drift, ["--map", str(out), str(folders[1]), "--resamples", "50", "--json"]
    )
    assert json.loads(result.stdout)["arm"] == "candidate"
