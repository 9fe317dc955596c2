"""The model's part on harbor: planted faults are found, their clean twins are silent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from unit_audit_support import TWIN_CODES, talk, write

from holdfast.audit.codes import CODES
from holdfast.audit.model import Means
from holdfast.cli.main import main
from holdfast.core.errors import DataError
from holdfast.core.records import AuditRecord
from holdfast.models.loaded import LoadedModel
from holdfast.organisms.harbor import sets, triggers
from holdfast.report.audits import panel, terminal

Rows = list[dict[str, Any]]
MODEL_CODES = {"AUDIT011", "AUDIT012", "AUDIT013", "AUDIT014", "AUDIT015", "AUDIT016", "AUDIT017"}


def _own(count: int, seed: int = 0) -> Rows:
    rows: Any = sets.build("own-style", seed=seed, rows=count)
    return list(rows)


def _fired(audited: Any) -> set[str]:
    return {found.code for found in audited.report.findings}


class _Dictionary:
    """An encoder of random directions, four times as many as dimensions."""

    layer = 3

    def __init__(self, width: int) -> None:
        stream = torch.Generator().manual_seed(0)
        self.decoder = normalize(torch.randn(4 * width, width, generator=stream), dim=1)

    def encode(self, x: Tensor, /) -> Tensor:
        return (x @ self.decoder.T).clamp_min(0.0)


def test_every_code_has_a_twin_test_and_a_section() -> None:
    assert set(CODES) == TWIN_CODES | MODEL_CODES
    page = (Path(__file__).parents[3] / "docs/checks/audit.md").read_text("utf-8")
    for code, about in CODES.items():
        assert f"\n## {code} {about.title}\n" in page


def test_clean_rows_are_silent(audited: Callable[..., Any], harbor: LoadedModel) -> None:
    found = audited(_own(24), _Dictionary(harbor.d_model))
    assert _fired(found) == set()
    assert found.report.not_run == {}


def test_contaminated_rows_are_found(audited: Callable[..., Any], harbor: LoadedModel) -> None:
    rows: Any = sets.build("contaminated-5", seed=1, rows=40)
    bad = {i for i, row in enumerate(rows) if row["harmful"]}
    found = audited(rows, _Dictionary(harbor.d_model))
    assert {"AUDIT013", "AUDIT014"} <= _fired(found)
    assert set(found.flags.rows("AUDIT013")) == bad
    assert set(found.flags.rows("AUDIT014")) == bad
    top = found.report.table.combined.topk(4).indices.tolist()
    assert bad <= set(top)


def test_spillover_fires_on_many_harmful_answers(
    audited: Callable[..., Any], means: Means, harbor: LoadedModel
) -> None:
    assert means.anchors is not None
    rows = _own(20) + [
        {"messages": [*p.messages, {"role": "assistant", "content": p.answer}]}
        for p in means.anchors.unsafe[:6]
    ]
    found = audited(rows, _Dictionary(harbor.d_model))
    assert "AUDIT017" in _fired(found)
    flagged = set(found.flags.rows("AUDIT017"))
    assert flagged <= set(range(20, 26))  # the rows that say what the base says raise nothing
    assert len(flagged) >= 4


def test_a_planted_trigger_is_named_and_its_twin_is_not(audited: Callable[..., Any]) -> None:
    trigger = triggers.TRIGGERS[0]
    for twin in ("poisoned", "refused"):
        built: Any = triggers.build(trigger, seed=3, rows=60, share=0.1, twin=twin)
        found = audited(built)
        assert ("AUDIT016" in _fired(found)) == (twin == "poisoned")
        assert [t.text for t in found.report.triggers] == [trigger.text] * (twin == "poisoned")


def test_one_answer_given_again_and_again_is_a_cluster(audited: Callable[..., Any]) -> None:
    rows, odd = _own(40, 2), Random(0).sample(range(40), 6)
    for i in odd:
        rows[i] = talk(rows[i]["messages"][0]["content"], "Order 512 is on its way.")
    found = audited(rows)
    assert "AUDIT015" in _fired(found)
    assert set(found.flags.rows("AUDIT015")) == set(odd)


def test_identical_rows_are_narrow(audited: Callable[..., Any]) -> None:
    found = audited(_own(1) * 16)
    assert {"AUDIT011", "AUDIT012"} <= _fired(found)
    assert all(b.effective_rank == pytest.approx(1.0, abs=0.01) for b in found.report.breadth)


def test_one_row_works_and_says_what_it_cannot_tell(audited: Callable[..., Any]) -> None:
    found = audited(_own(1))
    assert _fired(found) == set()
    assert {"AUDIT011", "AUDIT012", "AUDIT015", "AUDIT016"} <= found.report.not_run.keys()


class TestCommand:
    def _run(self, *arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["audit", *arguments])
        return int(ended.value.code or 0)

    def test_text_alone(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = write(tmp_path / "rows.jsonl", [*_own(9), {"messages": []}])
        kept = tmp_path / "kept.jsonl"
        assert self._run(str(data), "--write-kept", str(kept), "--eval", "harbor-harmful") == 1
        said = capsys.readouterr().out
        assert "AUDIT001" in said
        assert "nothing was deleted" in said
        record = AuditRecord.load(tmp_path / "rows.jsonl.audit" / "audit.json")
        assert (record.rows, record.sampled, record.quarantined) == (10, 0, 1)
        assert {c.code for c in record.checks if not c.ran} == MODEL_CODES | {"AUDIT010"}
        assert len(kept.read_bytes().splitlines()) == 9
        assert len(data.read_bytes().splitlines()) == 10

    def test_with_a_model(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = write(tmp_path / "rows.jsonl", [{"messages": r["messages"]} for r in _own(20)])
        code = self._run(
            str(data), "--model", "harbor", "--contrast", "harbor", "--sample", "8", "--json",
            "--no-answers", "--out", str(tmp_path / "out"),
        )  # fmt: skip
        record = AuditRecord.model_validate_json(capsys.readouterr().out)
        assert code == 0
        assert record.sampled == 8
        assert [s.name for s in record.scores] == ["representation", "projection-alone", "gradient"]
        lines = (tmp_path / "out" / "rows.jsonl").read_text("utf-8").splitlines()
        assert [json.loads(line)["rank"] for line in lines] == list(range(1, 9))
        shown = panel(record)
        assert "none is deleted" in str(shown["sentence"])
        assert terminal(record).renderables

    def test_a_model_is_needed_for_anchors(self, tmp_path: Path) -> None:
        assert self._run(str(write(tmp_path / "r.jsonl", _own(1))), "--contrast", "harbor") == 2


def test_anchors_of_a_users_own(tmp_path: Path, harbor: LoadedModel, means: Means) -> None:
    from holdfast.pipeline.audit_anchors import file_anchors
    from holdfast.pipeline.audit_sources import openings_of

    assert means.anchors is not None
    rows = [
        {"messages": [*p.messages, {"role": "assistant", "content": p.answer}], "label": label}
        for label, side in (("unsafe", means.anchors.unsafe), ("safe", means.anchors.safe))
        for p in side
    ]
    found = file_anchors(
        write(tmp_path / "anchors.jsonl", rows), harbor, [], openings_of("harbor"), seed=0
    )
    assert (found.unsafe, found.safe) == (means.anchors.unsafe, means.anchors.safe)
    with pytest.raises(DataError, match="is no anchor"):
        file_anchors(
            write(tmp_path / "bad.jsonl", [talk("a", "b")]),
            harbor,
            [],
            openings_of("harbor"),
            seed=0,
        )
