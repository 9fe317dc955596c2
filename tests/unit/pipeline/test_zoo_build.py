"""One real member from recipe to record, found finished by the next build."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.core.errors import IntegrityError, UsageError
from holdfast.geometry.contrast import ContrastRow
from holdfast.geometry.sae.read import read, write
from holdfast.organisms.harbor import sae_dir, weights_dir
from holdfast.pipeline.zoo import build as zoo
from holdfast.pipeline.zoo import latents as zoo_latents
from holdfast.pipeline.zoo import members as zoo_members
from holdfast.pipeline.zoo import outcome as zoo_outcome
from holdfast.pipeline.zoo import probe as zoo_probe
from holdfast.pipeline.zoo import streams as zoo_streams
from holdfast.pipeline.zoo.members import Member, Method
from holdfast.pipeline.zoo.store import ZooStore
from holdfast.testing import tiny
from holdfast.tuning.monitors.latents import COUNT, TWINS
from holdfast.vault.manifest import describe

SHORT = (
    Member("contaminated-tasks-20", Method(steps=20), 0, 0),
    Member("own-style", Method(steps=20), 0, 0),
    Member("own-style", Method(steps=20), 0, 1),
)


def _few(rows: list[ContrastRow]) -> list[ContrastRow]:
    seen: dict[tuple[str, str, int], int] = {}
    kept = []
    for row in rows:
        key = (row.category, row.split, row.label)
        seen[key] = seen.get(key, 0) + 1
        if row.concept == "harmful" and seen[key] <= (8 if row.split == "validation" else 4):
            kept.append(row)
    return kept


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty steps, two looks, a small map, few prompts: the same path in a tenth of the time."""
    monkeypatch.setattr(zoo_members, "members", lambda: SHORT)
    monkeypatch.setattr(zoo_streams, "POINTS", (0, 20))
    whole = zoo_probe.contrast_rows
    monkeypatch.setattr(zoo_probe, "contrast_rows", lambda: _few(whole()))
    fewer = {name: (suite, 20 if name != "harmful" else 60)
             for name, (suite, _) in zoo_outcome.SUITES.items()}  # fmt: skip
    monkeypatch.setattr(zoo_outcome, "SUITES", fewer)


@pytest.mark.usefixtures("short")
def test_a_member_is_trained_measured_kept_and_not_trained_again(tmp_path: Path) -> None:
    told: list[str] = []
    store, name = ZooStore(tmp_path / "zoo"), SHORT[0].name
    chosen = "contaminated-*"
    held = zoo.build(store.folder, [weights_dir()], members=chosen,
                     progress=lambda what, done, total: told.append(what))  # fmt: skip
    assert held == 1
    assert told == [f"{name} (1 of 1)"]
    (record,) = store.members()
    assert {
        "member", "family", "split", "kind", "data", "base", "tuner", "rank", "learning_rate",
        "steps", "batch", "seed", "checkpoints", "outcome", "verdict", "fail_step", "bad_rows",
        "seconds",
    } <= record.keys()  # fmt: skip
    assert (record["member"], record["kind"], record["verdict"]) == (name, "harmful", "fail")
    assert record["checkpoints"] == [0, 20]
    assert record["fail_step"] == 20
    assert len(record["bad_rows"]) == 80
    assert record["outcome"]["base"]["refusal"] > 0.9 > 0.2 > record["outcome"]["end"]["refusal"]
    assert set(record["outcome"]["counts"]) <= set(record["outcome"]["end"])
    streams = store.stream(name)
    assert streams["step"].tolist() == record["checkpoints"]
    assert streams["behaviour"][1].mean() < streams["behaviour"][0].mean()
    assert (store.folder / record["weights"] / "training.json").is_file()

    told.clear()
    assert zoo.build(store.folder, [weights_dir()], members=chosen) == 1
    assert not told
    assert len(store.members()) == 1

    other = tiny.build(tmp_path / "other", layers=2)
    with pytest.raises(IntegrityError, match="another base"):
        zoo.build(store.folder, [other], members="own-style")


@pytest.mark.usefixtures("short")
def test_a_build_without_time_starts_nothing(tmp_path: Path) -> None:
    assert zoo.build(tmp_path, [weights_dir()], minutes=0.0) == 0
    assert ZooStore(tmp_path).members() == []


def test_the_sae_of_a_base_is_kept_with_its_harmful_latents(tmp_path: Path) -> None:
    base = describe(weights_dir()).model_digest
    assert zoo_latents.folder_of(tmp_path, "map-2") == tmp_path / "sae-2"
    other = tiny.build(tmp_path / "other", layers=2)
    assert not zoo_latents.keep(tmp_path, "map-1", other, None)  # the shipped SAE is harbor's
    assert zoo_latents.open_latents(tmp_path / "sae-1", base) is None
    with pytest.raises(UsageError, match="does not fit"):
        zoo_latents.keep(tmp_path, "map-1", other, sae_dir())
    strange = replace(read(sae_dir()), notes={"model": "0" * 64})
    write(strange, tmp_path / "strange")
    with pytest.raises(UsageError, match="another model's"):
        zoo_latents.keep(tmp_path, "map", weights_dir(), tmp_path / "strange")

    folder = tmp_path / "sae"
    assert zoo_latents.keep(tmp_path, "map", weights_dir(), None)
    assert zoo_latents.keep(tmp_path, "map", weights_dir(), sae_dir())  # the same, found there
    write(replace(strange, b_dec=strange.b_dec + 1), tmp_path / "strange")
    with pytest.raises(IntegrityError, match="another SAE"):
        zoo_latents.keep(tmp_path, "map", weights_dir(), tmp_path / "strange")
    found = zoo_latents.open_latents(folder, base)
    assert found is not None
    assert found.sae.digest() == read(sae_dir()).digest()
    assert 8 <= len(found.harmful.latents) <= COUNT
    assert len(found.harmful.permuted) == TWINS
    assert min(found.harmful.correlations) > found.harmful.null

    path = folder / zoo_latents.HARMFUL_FILE
    for wrong in ('{"sae": 1}', "[]", path.read_text("utf-8").replace(base, "0" * 64)):
        path.write_text(wrong, "utf-8")
        with pytest.raises(IntegrityError, match="does not match its SAE"):
            zoo_latents.open_latents(folder, base)
    (folder / "sae_weights.safetensors").unlink()
    with pytest.raises(IntegrityError, match="does not match its SAE"):
        zoo_latents.open_latents(folder, base)


def test_bases_are_given_once_and_in_order(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="given twice"):
        zoo.build(tmp_path, [weights_dir(), weights_dir()])
    with pytest.raises(UsageError, match="other bases"):
        zoo.build(tmp_path, [weights_dir()], members="*.b1")
    with pytest.raises(UsageError, match="more SAEs"):
        zoo.build(tmp_path, [weights_dir()], saes=[sae_dir(), sae_dir()])
