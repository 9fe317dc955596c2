"""The studies behind docs/results: exact error rates, and verdicts on published answers."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[3] / "bench"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data() -> Path:
    root = os.environ.get("HOLDFAST_DATA")
    if not root:
        pytest.skip("HOLDFAST_DATA is not set: the public data are not there")
    return Path(root)


def test_false_passes_are_bounded_exactly() -> None:
    """With one answer per prompt the chance of a false pass is summed over all outcomes."""
    coverage = script("coverage")
    worst = {
        test: max(row.passes for row in coverage.exact(test, None, 0, coverage.MARGIN))
        for test in (coverage.plain_p, coverage.tango_p)
    }
    assert worst[coverage.plain_p] < 0.052
    assert worst[coverage.tango_p] > 0.06


def test_verdicts_on_published_answers(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = script("real_models")
    monkeypatch.setattr(study, "SPLITS", 5)
    assert study.main() == 0
    printed = capsys.readouterr().out
    assert "**NO**" not in printed
    assert printed.count("| FAIL (") == 8


def test_an_audit_recovers_the_sign_that_a_judge_gets_wrong(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import random

    study = script("audit_sign")
    monkeypatch.setattr(study, "DRAWS", 100)
    models = study.load()
    pairs = study.pairs_of(models["gpt4"], models["mistralguard"], "phrase list", "full or partial")
    truth, alone, (pooled, corrected), _ = study.study(pairs, random.Random(1))
    assert truth > 0.0 > alone
    assert pooled == 0.0
    assert corrected >= 0.95
