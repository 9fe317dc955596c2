"""Other tools' files: what is read, what is refused, and that nothing hostile gets through."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import zstandard
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.cli.convert import command
from holdfast.core.completions import load as load_completions
from holdfast.core.errors import DataError, HoldfastError, IntegrityError, UsageError
from holdfast.core.files import write_jsonl
from holdfast.core.labels import UNSCORED
from holdfast.evals.judges import label_row, make
from holdfast.interchange import bounded
from holdfast.interchange.every_eval import VERSION
from holdfast.interchange.every_eval import write as write_every_eval
from holdfast.interchange.formats import READERS, guess, read
from holdfast.interchange.inspect_writer import write as write_inspect
from holdfast.interchange.rows import parse_mapping


def _json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), "utf-8")
    return path


def _sample(i: int, text: Any = "answer", **fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    output = {"model": "m", "choices": [{"message": message, "stop_reason": "stop"}]}
    return {"id": i, "epoch": 1, "input": f"q{i}", "target": "", "output": output,
            "scores": {"refusal": {"value": "C" if i else "I"}}, **fields}  # fmt: skip


def _log(samples: list[dict[str, Any]], status: str = "success", **spec: Any) -> dict[str, Any]:
    named = {"task": "t", "model": "hf/local", "model_args": {"model_path": "/w/base"}, **spec}
    return {"version": 2, "status": status, "eval": named, "samples": samples}


def _eval(path: Path, log: dict[str, Any], *, pack: bool = True, **extra: bytes) -> Path:
    """A packed log as Inspect writes it; zstd where `pack`."""
    members = {"header.json": json.dumps({k: v for k, v in log.items() if k != "samples"}).encode()}
    for sample in log["samples"]:
        members[f"samples/{sample['id']}_epoch_1.json"] = json.dumps(sample).encode()
    members.update({name.replace("__", "/"): value for name, value in extra.items()})
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if not pack:
                archive.writestr(name, content)
                continue
            _write_zstd(archive, name, content)
    return path


def _write_zstd(archive: zipfile.ZipFile, name: str, content: bytes, claimed: int = -1) -> None:
    packed = zstandard.compress(content)
    info = zipfile.ZipInfo(name)
    archive.writestr(info, packed)
    info.compress_type = 93
    info.file_size = len(content) if claimed < 0 else claimed


def test_both_forms_of_an_inspect_log_give_the_same_rows(tmp_path: Path) -> None:
    log = _log([_sample(i) for i in range(3)])
    plain = read(_json(tmp_path / "a.json", log), kind="harmful")
    packed = read(_eval(tmp_path / "a.eval", log), kind="harmful")
    stored = read(_eval(tmp_path / "b.eval", log, pack=False), kind="harmful")
    assert plain.rows == packed.rows == stored.rows
    assert {row["model"] for row in plain.rows} == {"unverified:hf/local:/w/base"}
    assert [row["response"] for row in plain.rows] == ["answer"] * 3
    assert plain.rows[0]["scores"] == {"refusal": "I"}
    assert "labels" not in plain.rows[0]


def test_scores_become_labels_only_as_the_user_says(tmp_path: Path) -> None:
    samples = [_sample(0), _sample(1), _sample(2, scores={"refusal": {"value": "P"}})]
    path = _json(tmp_path / "a.json", _log(samples))
    found = read(path, mapping=parse_mapping(["refusal:C=refusal", "refusal:I=safe"]))
    assert [row["labels"]["refusal"] for row in found.rows] == ["safe", "refusal", UNSCORED]
    with pytest.raises(UsageError, match="no row has a score of 'refusals'; did you mean"):
        read(path, mapping=parse_mapping(["refusals:C=refusal"]))
    with pytest.raises(UsageError, match="SCORER:VALUE=LABEL"):
        parse_mapping(["refusal:C=nope"])


def test_samples_that_failed_are_unscored_whatever_their_score_says(tmp_path: Path) -> None:
    filtered = _sample(1)
    filtered["output"]["choices"][0]["stop_reason"] = "content_filter"
    samples = [
        _sample(0, error={"message": "boom"}), filtered, _sample(2, output={"choices": []}),
        _sample(3, "x" * (bounded.MAX_TEXT + 1)), _sample(4, [{"type": "text", "text": "fine"}]),
    ]  # fmt: skip
    path = _json(tmp_path / "a.json", _log(samples, status="error"))
    found = read(path, mapping=parse_mapping(["refusal:C=safe", "refusal:I=safe"]))
    labels = [row["labels"]["refusal"] for row in found.rows]
    assert labels == [UNSCORED] * 4 + ["safe"]
    assert all(row["response"] == "" and row["error"] for row in found.rows[:4])
    assert label_row(make("rules"), {**found.rows[0], "kind": "harmful"}) == UNSCORED
    assert "'error', not 'success'" in found.notes[0]


def test_an_interrupted_packed_log_says_so(tmp_path: Path) -> None:
    log = _log([_sample(0)])
    start = json.dumps({"version": 2, "eval": log["eval"]}).encode()
    path = tmp_path / "a.eval"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("_journal/start.json", start)
        archive.writestr("samples/0_epoch_1.json", json.dumps(log["samples"][0]))
    notes = read(path).notes
    assert any("interrupted" in note for note in notes)


def test_attachments_are_put_back_and_missing_ones_refused(tmp_path: Path) -> None:
    sample = _sample(0, "attachment://abc", attachments={"abc": "long text"})
    assert read(_json(tmp_path / "a.json", _log([sample]))).rows[0]["response"] == "long text"
    sample["attachments"] = {}
    with pytest.raises(DataError, match="attachment"):
        read(_json(tmp_path / "a.json", _log([sample])))


@pytest.mark.parametrize(
    "name", ["../../etc/x.json", "/etc/x.json", "samples\\..\\x.json", "a/../b"]
)
def test_names_that_lead_out_of_an_archive_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.eval"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"{}")
    with pytest.raises(IntegrityError, match="leads out of it"):
        read(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.eval"]


@pytest.mark.parametrize("claimed", [-1, 100])
def test_a_zip_bomb_is_refused_before_it_unpacks(
    tmp_path: Path, claimed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MAX_MEMBER", 1 << 20)
    path = tmp_path / "a.eval"
    header = json.dumps(_log([])).encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", header)
        _write_zstd(archive, "samples/0_epoch_1.json", b" " * (1 << 24), claimed)
    assert path.stat().st_size < 10_000
    with pytest.raises(IntegrityError, match="unpacks to more than"):
        read(path)


def test_many_members_together_are_bounded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _eval(tmp_path / "a.eval", _log([_sample(i, "y" * 5000) for i in range(20)]))
    monkeypatch.setattr(bounded, "MAX_FILE", 60_000)
    with pytest.raises(IntegrityError, match="unpacks to more than"):
        read(path)
    monkeypatch.setattr(bounded, "MAX_MEMBERS", 5)
    with pytest.raises(IntegrityError, match="has 21 members"):
        read(path)


def test_duplicates_and_encryption_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.eval"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", b"{}")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("header.json", b"{}")
    with pytest.raises(IntegrityError, match="two members of one name"):
        read(path)
    content = bytearray(_eval(tmp_path / "b.eval", _log([]), pack=False).read_bytes())
    place = content.index(b"PK\x01\x02")
    content[place + 8] |= 1
    (tmp_path / "b.eval").write_bytes(content)
    with pytest.raises(IntegrityError, match="encrypted"):
        read(tmp_path / "b.eval")


@settings(max_examples=80, deadline=None)
@given(cut=st.integers(0, 2000), flip=st.integers(0, 2000), bit=st.integers(0, 7))
def test_no_damage_to_an_archive_escapes_as_anything_but_an_error(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("damage", numbered=True)
    path = _eval(folder / "a.eval", _log([_sample(i) for i in range(2)]))
    content = bytearray(path.read_bytes())
    content[flip % len(content)] ^= 1 << bit
    path.write_bytes(content[: max(1, len(content) - cut % 700)] if cut % 3 == 0 else content)
    try:
        rows = read(path).rows
    except HoldfastError:
        return
    assert all(isinstance(row["response"], str) for row in rows)


def test_half_written_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "samples_x_2026-01-01T00-00-00.1.jsonl"
    row = {"doc_id": 0, "arguments": [["q", {}]], "resps": [["a"]], "filter": "none"}
    path.write_text(json.dumps(row) + "\n" + json.dumps(row)[:30], "utf-8")
    with pytest.raises(DataError, match="line 2 is not complete JSON"):
        read(path)


def test_long_lines_and_large_documents_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MAX_LINE", 100)
    monkeypatch.setattr(bounded, "MAX_DOCUMENT", 100)
    path = tmp_path / "a.jsonl"
    path.write_text('{"entry_type": "' + "x" * 200 + '"}\n', "utf-8")
    with pytest.raises(DataError, match="line 1 is longer than"):
        read(path)
    with pytest.raises(DataError, match="too large"):
        read(_json(tmp_path / "a.json", {"x": "y" * 200}))


def test_lm_eval_pairs_by_hash_and_takes_one_filter(tmp_path: Path) -> None:
    date = "2026-01-01T10-00-00.123456"
    rows = [
        {"doc_id": i, "doc_hash": f"{i}" * 64, "prompt_hash": "p" * 64, "filter": name,
         "arguments": {"gen_args_0": {"arg_0": f"q{i}", "arg_1": {"until": []}}},
         "resps": [[f"raw {i}", f"again {i}"]], "filtered_resps": ["x"],
         "metrics": ["exact_match"], "exact_match": 1.0}
        for i in range(2) for name in ("strict", "flexible")
    ]  # fmt: skip
    path = tmp_path / f"samples_gsm_{date}.jsonl"
    write_jsonl(path, rows)
    _json(tmp_path / f"results_{date}.json", {"model_name": "org/model"})
    found = read(path, kind="task", mapping=parse_mapping(["exact_match:1=safe"]))
    assert [row["response"] for row in found.rows] == ["raw 0", "again 0", "raw 1", "again 1"]
    assert [row["sample"] for row in found.rows] == [0, 1, 0, 1]
    assert found.rows[0]["prompt_id"] == "0" * 16 + "-" + "p" * 16
    assert {row["model"] for row in found.rows} == {"unverified:org/model"}
    assert {row["suite"] for row in found.rows} == {"gsm"}
    assert found.rows[0]["labels"] == {"exact_match": "safe"}
    assert "2 rows of other filters" in found.notes[0]
    rows[0]["resps"] = [[[-1.5, False]]]
    write_jsonl(path, rows)
    with pytest.raises(DataError, match="log-likelihoods"):
        read(path)


def _turns(text: str) -> dict[str, Any]:
    return {"turns": [{"role": "user", "content": {"text": text, "lang": "en"}}]}


def test_garak_takes_complete_attempts_old_and_new(tmp_path: Path) -> None:
    new = {"entry_type": "attempt", "uuid": "1", "status": 2, "probe_classname": "p.A",
           "prompt": _turns("q"), "outputs": [{"text": "one"}, None, {"text": "two"}],
           "detector_results": {"d": [0.0, None, 1.0]}}  # fmt: skip
    old = {**new, "uuid": "2", "prompt": "plain", "outputs": ["three"], "probe_classname": "p.B"}
    rows = [
        {"entry_type": "start_run setup", "plugins.model_type": "hf", "plugins.model_name": "x"},
        {**new, "status": 1, "outputs": []}, new, old,
        {**new, "uuid": "9", "status": 1}, {"entry_type": "eval"},
    ]  # fmt: skip
    path = tmp_path / "a.report.jsonl"
    write_jsonl(path, rows)
    found = read(path, kind="jailbreak", mapping=parse_mapping(["d:1=unsafe", "d:0=safe"]))
    assert [row["response"] for row in found.rows] == ["one", "", "two", "three"]
    assert [row["labels"]["d"] for row in found.rows] == ["safe", UNSCORED, "unsafe", "safe"]
    assert {row["model"] for row in found.rows} == {"unverified:hf/x"}
    assert found.notes == ["1 attempts were never finished and are left out"]
    assert [r["suite"] for r in read(path, only="p.B").rows] == ["p.B"]


def test_promptfoo_needs_one_provider_and_keeps_failures_apart(tmp_path: Path) -> None:
    def result(provider: str, output: Any, **fields: Any) -> dict[str, Any]:
        return {"provider": {"id": provider}, "prompt": {"raw": "q " + str(output)},
                "response": {"output": output}, "success": True, **fields}  # fmt: skip

    talk = json.dumps([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}])
    results = [
        result("a", "yes"), result("a", None, error="timeout"),
        result("a", "kept", error="assertion failed", success=False),
        result("a", "talk", prompt={"raw": talk}), result("a", "raw", prompt={"raw": "[not json"}),
        result("b", "other"),
    ]  # fmt: skip
    whole = {"evalId": "e", "results": {"version": 3, "results": results}, "config": {}}
    path = _json(tmp_path / "out.json", whole)
    with pytest.raises(DataError, match="2 providers; got a, b"):
        read(path)
    found = read(path, only="a")
    assert [row["response"] for row in found.rows] == ["yes", "", "kept", "talk", "raw"]
    assert found.rows[1]["error"] == "timeout"
    assert found.rows[3]["messages"][0] == {"role": "system", "content": "s"}
    assert found.rows[4]["prompt"] == "[not json"


def test_jailbreakbench_verdicts_are_labels(data: Path, tmp_path: Path) -> None:
    folder = data / "jailbreaks" / "jbb_artifacts"
    read_rows = 0
    for path in sorted(folder.glob("*.json")):
        if path.name.endswith("attack-info.json"):
            with pytest.raises(UsageError, match="none of the formats"):
                guess(path)
            continue
        source = json.loads(path.read_text("utf-8"))
        found = read(path)
        read_rows += len(found.rows)
        unsafe = sum(row["labels"].get("jailbreakbench") == "unsafe" for row in found.rows)
        answered = [r for r in source["jailbreaks"] if r["response"] is not None]
        assert unsafe == sum(r["jailbroken"] for r in answered)
        assert sum("error" in row for row in found.rows) == len(found.rows) - len(answered)
        write_jsonl(tmp_path / "c.jsonl", found.rows)
        assert len(load_completions(tmp_path / "c.jsonl").rows) == len(source["jailbreaks"])
    assert read_rows == 1600


def test_lone_surrogates_and_control_characters_survive_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(_log([_sample(0, "a\ud800b\x00\x1b[2J")])), "utf-8")
    rows = read(path).rows
    write_jsonl(tmp_path / "c.jsonl", rows)
    assert load_completions(tmp_path / "c.jsonl").rows[0]["response"] == "a?b\x00\x1b[2J"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"results": []}', "[" * 50_000, "\x00"])
@pytest.mark.parametrize("form", READERS.names())
def test_no_junk_is_read_as_results(tmp_path: Path, form: str, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content, "utf-8")
    with pytest.raises(HoldfastError):
        read(path, form=form)


def _completions(folder: Path) -> Path:
    rows = [
        {"prompt_id": f"p{i}", "prompt": f"q{i}", "response": "a", "suite": "s", "kind": "harmful",
         "model": "ab" * 32, "labels": {"rules": ("refusal", "unsafe", UNSCORED)[i % 3]}}
        for i in range(9)
    ]  # fmt: skip
    write_jsonl(folder / "c.jsonl", rows)
    return folder / "c.jsonl"


def test_a_written_inspect_log_reads_back(tmp_path: Path) -> None:
    path = _completions(tmp_path)
    (log,) = write_inspect(load_completions(path), tmp_path / "logs")
    found = read(log, mapping=parse_mapping(["rules:refusal=refusal", "rules:unsafe=unsafe"]))
    assert [row["labels"] for row in found.rows] == [
        row["labels"] for row in load_completions(path).rows
    ]


def test_every_eval_ever_has_the_shape_of_its_schema(tmp_path: Path) -> None:
    whole, details = write_every_eval(load_completions(_completions(tmp_path)), tmp_path / "out")
    document = json.loads(whole.read_text("utf-8"))
    (result,) = document["evaluation_results"]
    assert document["schema_version"] == VERSION == "0.3.0"
    assert result["score_details"]["score"] == 0.5
    assert result["score_details"]["details"] == {"unscored": "3", "scored": "6"}
    interval = result["score_details"]["uncertainty"]["confidence_interval"]
    assert interval["lower"] < 0.5 < interval["upper"]
    assert document["model_info"]["additional_details"]["weights"] == "digest of content"
    samples = [json.loads(line) for line in details.read_text("utf-8").splitlines()]
    assert len(samples) == 6 == document["detailed_evaluation_results"]["total_rows"]
    assert [s["evaluation"]["is_correct"] for s in samples] == [True, False] * 3
    assert (tmp_path / "out" / document["detailed_evaluation_results"]["file_path"]) == details


def test_every_eval_ever_passes_its_own_schema(tmp_path: Path) -> None:
    folder = os.environ.get("HOLDFAST_EVERY_EVAL_SCHEMAS", "")
    if not folder:
        pytest.skip("HOLDFAST_EVERY_EVAL_SCHEMAS is not set: the schema files are not there")
    schemas = [
        json.loads((Path(folder) / f"{name}.schema.json").read_text("utf-8"))
        for name in ("eval", "instance_level_eval")
    ]
    whole, details = write_every_eval(load_completions(_completions(tmp_path)), tmp_path / "out")
    jsonschema.Draft7Validator(schemas[0]).validate(json.loads(whole.read_text("utf-8")))
    for line in details.read_text("utf-8").splitlines():
        jsonschema.Draft7Validator(schemas[1]).validate(json.loads(line))


def test_the_command_reads_and_writes(tmp_path: Path) -> None:
    log = _json(tmp_path / "a.json", _log([_sample(0), _sample(1)]))
    out = tmp_path / "c.jsonl"
    done = CliRunner().invoke(command, ["read", str(log), "--out", str(out), "--kind", "harmful"])
    assert done.exit_code == 0, done.output
    assert "2 answers" in done.output
    assert "scores of refusal are kept unread" in done.output
    done = CliRunner().invoke(
        command, ["write", str(out), "--to", "inspect", "--out", str(tmp_path / "logs")]
    )
    assert done.exit_code == 0, done.output
    assert Path(done.output.strip()).is_file()
