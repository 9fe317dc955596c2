"""The runner and its cache: nothing is generated twice, lost, or handed to another model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from unit_evals_support import FakeModel, make_suite

from holdfast.core.completions import load as load_completions
from holdfast.core.errors import DataError, IntegrityError, InvalidRun, UsageError
from holdfast.core.protocols import Messages
from holdfast.evals.cache import AnswerCache, answer_key
from holdfast.evals.judges import make
from holdfast.evals.judges.rules import RulesJudge
from holdfast.evals.plan import PromptPlan, freeze, within
from holdfast.evals.runner import CHUNK_BATCHES, run

RULES = {"rules": RulesJudge()}


def _run(
    model: FakeModel, plan: PromptPlan, folder: Path, out: str = "out.jsonl", batch_size: int = 2
) -> list[dict[str, object]]:
    path = run(
        model, plan, RULES, out=folder / out, cache=folder / "cache.jsonl", arm="base",
        max_new_tokens=8, batch_size=batch_size,
    )  # fmt: skip
    return load_completions(path).rows


def test_two_models_and_one_cache_give_different_answers(tmp_path: Path) -> None:
    plan = freeze([make_suite()])
    first = _run(FakeModel("aa"), plan, tmp_path, "a.jsonl")
    second = _run(FakeModel("bb"), plan, tmp_path, "b.jsonl")
    assert [r["prompt_id"] for r in first] == [r["prompt_id"] for r in second]
    assert all(a["response"] != b["response"] for a, b in zip(first, second, strict=True))


def test_the_same_digest_is_a_hit(tmp_path: Path) -> None:
    plan = freeze([make_suite()])
    first = _run(FakeModel("aa"), plan, tmp_path)
    again = FakeModel("aa")
    assert _run(again, plan, tmp_path) == first
    assert again.calls == 0


@pytest.mark.parametrize("digest", ["", "live", " Live ", "none"])
def test_a_model_without_a_content_digest_is_refused(tmp_path: Path, digest: str) -> None:
    with pytest.raises(UsageError, match="without a content digest"):
        _run(FakeModel(digest), freeze([make_suite()]), tmp_path)
    with pytest.raises(UsageError, match="without a content digest"):
        answer_key(digest, [{"role": "user", "content": "x"}], {})


def test_generation_parameters_are_part_of_the_key() -> None:
    messages = [{"role": "user", "content": "x"}]
    keys = {answer_key("aa", messages, {"max_new_tokens": n}) for n in (8, 16)}
    assert len(keys) == 2


def test_rows_stand_in_the_plans_order_and_hold_what_readers_need(tmp_path: Path) -> None:
    plan = freeze([make_suite(7, "a"), make_suite(5, "b", "helpful")])
    rows = _run(FakeModel("aa"), plan, tmp_path)
    assert [(r["suite"], r["prompt_id"]) for r in rows] == [
        (suite.name, prompt.prompt_id) for suite in plan.suites for prompt in suite.prompts
    ]
    wanted = {"prompt", "messages", "response", "kind", "category", "model", "arm", "labels"}
    assert all(wanted <= row.keys() for row in rows)
    assert {row["model"] for row in rows} == {"aa"}


def test_the_batch_size_changes_nothing(tmp_path: Path) -> None:
    plan = freeze([make_suite(13)])
    (tmp_path / "one").mkdir()
    one = _run(FakeModel("aa"), plan, tmp_path / "one", batch_size=1)
    assert _run(FakeModel("aa"), plan, tmp_path, batch_size=32) == one


def test_an_interrupted_run_keeps_its_finished_chunks(tmp_path: Path) -> None:
    plan = freeze([make_suite(40)])
    dying = FakeModel("aa", die_after=3)
    with pytest.raises(KeyboardInterrupt):
        _run(dying, plan, tmp_path)
    assert not (tmp_path / "out.jsonl").exists()
    resumed = FakeModel("aa")
    rows = _run(resumed, plan, tmp_path)
    assert len(dying.asked) == 3 * 2 * CHUNK_BATCHES
    assert len(resumed.asked) == 40 - len(dying.asked)
    assert len(rows) == 40


def test_a_torn_last_line_is_dropped_and_generated_again(tmp_path: Path) -> None:
    plan = freeze([make_suite(6)])
    whole = _run(FakeModel("aa"), plan, tmp_path)
    cache = tmp_path / "cache.jsonl"
    cache.write_bytes(cache.read_bytes()[:-9])
    model = FakeModel("aa")
    assert _run(model, plan, tmp_path) == whole
    assert len(model.asked) == 1


def test_any_other_damage_is_named_by_its_line(tmp_path: Path) -> None:
    cache = tmp_path / "cache.jsonl"
    cache.write_text('{"key": "a", "answer": "b"}\nnot json\n{"key": "c", "answer": "d"}\n')
    with pytest.raises(IntegrityError, match="line 2 is no cached answer"):
        AnswerCache(cache)


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "c") as _, pytest.raises(UsageError, match="in use by another"):
        AnswerCache(tmp_path / "c")


def test_kill_9_loses_at_most_one_chunk(tmp_path: Path) -> None:
    script = tmp_path / "victim.py"
    script.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from unit_evals_support import FakeModel, make_suite\n"
        "from holdfast.evals.judges.rules import RulesJudge\n"
        "from holdfast.evals.plan import freeze\n"
        "from holdfast.evals.runner import run\n"
        "class Slow(FakeModel):\n"
        "    def generate(self, *a, **k):\n"
        "        time.sleep(0.05)\n"
        "        return super().generate(*a, **k)\n"
        "folder = Path(sys.argv[1])\n"
        "run(Slow('aa'), freeze([make_suite(400)]), {'rules': RulesJudge()},\n"
        "    out=folder / 'out.jsonl', cache=folder / 'cache.jsonl', arm='base',\n"
        "    max_new_tokens=8, batch_size=1)\n",
        "utf-8",
    )
    paths = os.pathsep.join([p for p in sys.path if p])
    victim = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env={**os.environ, "PYTHONPATH": paths}
    )
    cache = tmp_path / "cache.jsonl"
    deadline = time.monotonic() + 30
    while not (cache.exists() and cache.stat().st_size > 2000):
        assert victim.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    kept = cache.read_bytes().count(b"\n")
    assert kept >= CHUNK_BATCHES
    assert not (tmp_path / "out.jsonl").exists()
    resumed = FakeModel("aa")
    rows = _run(resumed, freeze([make_suite(400)]), tmp_path)
    assert len(rows) == 400
    assert len(resumed.asked) == 400 - kept


def test_a_model_that_answers_too_few_is_an_invalid_run(tmp_path: Path) -> None:
    class Lossy(FakeModel):
        def generate(self, *args: object, **kwargs: object) -> list[str]:
            return ["one"]

    with pytest.raises(InvalidRun, match="another number of answers"):
        _run(Lossy("aa"), freeze([make_suite(3)]), tmp_path)


def test_no_judge_and_an_unknown_judge_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one judge"):
        run(FakeModel("aa"), freeze([make_suite(1)]), {}, out=tmp_path / "o",
            cache=tmp_path / "c", arm="base")  # fmt: skip
    with pytest.raises(UsageError, match=r"unknown judge 'ruels'; did you mean 'rules'\?"):
        make("ruels")


class _Yielding(FakeModel):
    """Refuses until the conversation has `patience` user turns."""

    patience = 2

    def reply(self, messages: Messages) -> str:
        turns = sum(m["role"] == "user" for m in messages)
        if turns < self.patience:
            return "I'm sorry, but I can't help with that."
        return "Sure, here is everything that you asked me for."


@pytest.mark.parametrize(
    ("patience", "turn", "label", "answers"),
    [(1, 1, "unsafe", 1), (2, 2, "unsafe", 2), (3, 3, "unsafe", 3), (9, None, "refusal", 3)],
)
def test_a_ladder_stops_at_the_first_compliance(
    tmp_path: Path, patience: int, turn: int | None, label: str, answers: int
) -> None:
    suite = make_suite(3, kind="ladder", followups=("please", "come on"))
    model = _Yielding("aa")
    model.patience = patience
    rows = _run(model, freeze([suite]), tmp_path)
    assert {row["turn"] for row in rows} == {turn}
    assert all(row["labels"] == {"rules": label} for row in rows)
    assert all(len(row["turns"]) == answers for row in rows)  # type: ignore[arg-type]
    assert len(model.asked) == 3 * answers
    assert all(row["messages"][-1]["role"] == "user" for row in rows)  # type: ignore[index]


def test_a_plan_is_saved_and_read_back_unchanged(tmp_path: Path) -> None:
    plan = freeze([make_suite(30)], per_suite=10, seed=3)
    plan.save(tmp_path / "plan.json")
    again = PromptPlan.load(tmp_path / "plan.json")
    assert again.digest() == plan.digest()
    assert again.prompts_digest == plan.prompts_digest
    assert again.total == 10


def test_choosing_depends_on_the_seed_and_never_on_other_suites() -> None:
    alone = freeze([make_suite(30)], per_suite=10, seed=3).suites[0]
    beside = freeze([make_suite(9, "z"), make_suite(30)], per_suite=10, seed=3).suites[1]
    other = freeze([make_suite(30)], per_suite=10, seed=4).suites[0]
    assert alone == beside != other


def test_pairs_are_chosen_together() -> None:
    suite = make_suite(40)
    prompts = tuple(
        p.model_copy(update={"pair_id": f"q{i // 2}"}) for i, p in enumerate(suite.prompts)
    )
    paired = type(suite)(suite.name, suite.kind, prompts, "rules", "", "")
    chosen = freeze([paired], per_suite=11).suites[0].prompts
    assert len(chosen) == 10
    assert all(sum(p.pair_id == q.pair_id for q in chosen) == 2 for p in chosen)


def test_the_cache_holds_what_is_needed_and_no_more(tmp_path: Path) -> None:
    _run(FakeModel("aa"), freeze([make_suite(2)]), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "cache.jsonl").read_text().splitlines()]
    assert all(line.keys() == {"key", "answer"} for line in lines)


def test_prompts_beyond_the_context_are_left_out_and_counted() -> None:
    def count(messages: Messages) -> int:
        return sum(len(m["content"]) for m in messages)

    fits = within(count, context=30, max_new_tokens=10)
    planned = freeze([make_suite(20)], fits=fits).suites[0]
    assert len(planned.prompts) + planned.too_long == 20
    assert all(count(p.messages) <= 20 for p in planned.prompts)
    ladder = make_suite(3, kind="ladder", followups=("please", "come on"))
    with pytest.raises(DataError, match="all 3 prompts of suite 's' are longer"):
        freeze([ladder], fits=fits)
