"""Alarms in the report: what and whom they blame, and records from before they did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from holdfast.core.records import Alarm, BlamedRow, TrainingRecord
from holdfast.report import alarms, html, load, panels

HOSTILE = "<script>window.hacked = 1</script> \x1b[31mred"


def _blaming(run: Path) -> Path:
    """The run with a combined alarm in its plain arm."""
    path = run / "arms" / "plain" / "training.json"
    record = TrainingRecord.load(path)
    blamed = Alarm(
        step=12, rule="combined > 2.000 (5% of benign runs)", value=3.5, threshold=2.0,
        action="log", concept="harmful/fraud", site="resid_post.2",
        streams={"crossing": 2.5, HOSTILE: 0.7, "margin": -1.0},
        rows=(BlamedRow(step=11, row=173, push=0.25), BlamedRow(step=12, row=-1, push=0.1)),
    )  # fmt: skip
    points = tuple(
        p.model_copy(
            update={
                "score": 0.1 * p.step,
                "score_threshold": 2.0,
                "latents": {"latents-lost": 0.01 * p.step} if p.step % 5 == 0 else {},
            }
        )
        for p in record.trajectory
    )
    record.model_copy(update={"alarms": (blamed,), "trajectory": points}).save(path)
    return run


def test_an_alarm_names_what_and_whom_it_blames(
    build_run: Callable[[Path], Path], tmp_path: Path
) -> None:
    run = load.load(_blaming(build_run(tmp_path / "run")))
    cells = next(row for row in alarms.table(run).rows if row[0] == "plain")
    assert "harmful/fraud" in cells
    assert "resid_post.2" in cells
    assert any(cell.startswith("crossing 2.5") and "margin" not in cell for cell in cells)
    assert any("173 at step 11" in cell and "unknown at step 12" in cell for cell in cells)
    panel = next(p for p in panels.monitor_panels(run) if p.title == "Combined monitor")
    assert panel.fires == 1.0
    assert panel.lines[0].values[-1] == 0.1 * panel.lines[0].steps[-1] / 2.0
    assert "fires above" in panel.description
    lost = next(p for p in panels.monitor_panels(run) if p.title == "Harmful latents lost")
    assert [line.arm for line in lost.lines] == ["plain"]
    assert lost.lines[0].values == [0.01 * step for step in lost.lines[0].steps]
    assert set(lost.lines[0].steps) == {0, 5, 10, 15, *range(20, 61, 10)}
    assert all("harmless prompts" not in p.title for p in panels.monitor_panels(run))
    page = html.render(run)
    assert "harmful/fraud" in page
    assert "<script>window.hacked" not in page


def test_older_records_still_load(run_folder: Path) -> None:
    run = load.load(run_folder)
    assert all(p.title != "Combined monitor" for p in panels.monitor_panels(run))
    old = '{"step":1,"rule":"r","value":1.0,"threshold":0.5,"action":"log"}'
    assert Alarm.model_validate_json(old).rows == ()
