"""Through the runner, an answer does not depend on the batch that it was generated in."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit_evals_support import make_suite

from holdfast.core.completions import load as load_completions
from holdfast.evals.judges.rules import RulesJudge
from holdfast.evals.plan import freeze
from holdfast.evals.record import EvalRecord, record_path
from holdfast.evals.runner import run
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.organisms import harbor
from holdfast.testing import tiny


def _answers(loaded: LoadedModel, folder: Path, batch_size: int, temperature: float) -> list[str]:
    out = folder / f"{batch_size}-{temperature}.jsonl"
    run(
        loaded, freeze([make_suite(33)]), {"rules": RulesJudge()}, out=out,
        cache=out.with_suffix(".cache"), arm="base", max_new_tokens=6, batch_size=batch_size,
        temperature=temperature, seed=3,
    )  # fmt: skip
    record = EvalRecord.load(record_path(out))
    assert record.verified
    assert (record.answers, record.reused, record.failed, record.cost) == (33, 0, 0, None)
    return [row["response"] for row in load_completions(out).rows]


@pytest.mark.parametrize(
    ("family", "temperature"), [("llama", 0.0), ("llama", 1.0), ("gpt2", 0.0), ("harbor", 0.0)]
)
def test_answers_are_identical_at_batch_1_7_and_32(
    tmp_path: Path, family: str, temperature: float
) -> None:
    folder = harbor.weights_dir() if family == "harbor" else tmp_path / "model"
    if family != "harbor":
        tiny.build(folder, family)
    loaded = load(folder)
    one = _answers(loaded, tmp_path, 1, temperature)
    assert len(set(one)) > 1
    assert _answers(loaded, tmp_path, 7, temperature) == one
    assert _answers(loaded, tmp_path, 32, temperature) == one
