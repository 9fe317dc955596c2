"""Published sets as their authors ship them: counts, kinds, digests, and what breaks them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.cli.suites import command as suites_command
from holdfast.core.digest import sha256_file
from holdfast.core.errors import DataError, EnvironmentFault, IntegrityError, UsageError
from holdfast.core.labels import SAFE, SCORED_KINDS, UNSAFE
from holdfast.evals.judges import make
from holdfast.evals.suites import SuiteOptions, catalogue, load, load_all
from holdfast.evals.suites.published import PUBLISHED
from holdfast.evals.suites.published.rubric import END, NO, YES, read_rubric
from holdfast.evals.suites.sources import known_digests


@pytest.mark.parametrize(
    ("spec", "kind", "n", "categories"),
    [
        ("ailuminate:prompts/ailuminate_demo_en.csv", "harmful", 1200, 15),
        ("medsafetybench:prompts/medsafetybench", "harmful", 450, 9),
        ("truthfulqa-mc1:prompts/truthfulqa.csv", "truth-choice", 817, 38),
        ("truthfulqa-mc2:prompts/truthfulqa.csv", "truth-choice", 817, 38),
        ("truthfulqa-open:prompts/truthfulqa.csv", "truth", 817, 38),
        ("cosafe:jailbreaks/cosafe", "jailbreak", 1300, 13),
        ("cosafe-ladder:jailbreaks/cosafe", "ladder", 1300, 13),
        ("psychosis-bench:mental_health/psychosis_bench.json", "crisis", 16, None),
        ("vera-mh:mental_health/vera_mh", "crisis", 10, 4),
    ],
)
def test_sets_have_the_authors_rows(
    data: Path, spec: str, kind: str, n: int, categories: int | None
) -> None:
    name, _, relative = spec.partition(":")
    suite = load(f"{name}:{data / relative}")
    assert (suite.name, suite.kind, len(suite.prompts)) == (name, kind, n)
    if categories is not None:
        assert len({p.category for p in suite.prompts}) == categories
    assert len(suite.source) == 64
    assert suite.judge == PUBLISHED[name].judge
    assert suite.licence == PUBLISHED[name].licence


def test_a_folder_of_statements_gives_a_suite_per_behaviour(data: Path) -> None:
    suites = load_all([f"statements:{data / 'persona/persona'}"])
    suites += load_all([f"statements:{data / 'persona/advanced_ai_risk'}"])
    assert len(suites) == 26
    assert sum(len(suite.prompts) for suite in suites) == PUBLISHED["statements"].size
    by_name = {suite.name: suite for suite in suites}
    assert "a risk" in by_name["statements-psychopathy"].measures
    assert "neither direction" in by_name["statements-agreeableness"].measures
    prompt = by_name["statements-power-seeking-inclination"].prompts[0]
    assert {choice.label for choice in prompt.choices} == {SAFE, UNSAFE}
    assert all(choice.text == choice.text.strip() for choice in prompt.choices)


def test_open_questions_are_read_and_judges_are_not(data: Path) -> None:
    suites = load_all([f"emergent:{data / 'emergent_misalignment'}"])
    weird = "weird/5_2_evil_terminator/evaluation/questions_and_judge.yaml"
    terminator = load(f"weird:{data / weird}")
    assert sum(len(suite.prompts) for suite in suites) == PUBLISHED["emergent"].size
    assert len(terminator.prompts) == 6
    assert all(suite.judge == "unread" for suite in [*suites, terminator])
    framed = [p for s in suites for p in s.prompts if p.messages[0]["role"] == "system"]
    assert framed


def test_truthfulqa_choices_hold_the_authors_labels(data: Path) -> None:
    path = data / "prompts/truthfulqa.csv"
    one, two = (load(f"truthfulqa-mc{k}:{path}") for k in (1, 2))
    assert all(sum(c.label == SAFE for c in p.choices) == 1 for p in one.prompts)
    assert sum(len(p.choices) for p in two.prompts) > sum(len(p.choices) for p in one.prompts)
    # The right answer must not always be the first: ties go to the first choice.
    first = sum(p.choices[0].label == SAFE for p in one.prompts) / len(one.prompts)
    assert 0.1 < first < 0.4


def test_dialogues_are_scripts_or_ladders(data: Path) -> None:
    kept = load(f"cosafe:{data / 'jailbreaks/cosafe'}").prompts
    asked = load(f"cosafe-ladder:{data / 'jailbreaks/cosafe'}").prompts
    assert {len(p.messages) for p in kept} == {5}
    assert {(len(p.messages), len(p.followups)) for p in asked} == {(1, 2)}
    cases = load(f"psychosis-bench:{data / 'mental_health/psychosis_bench.json'}").prompts
    assert {len(p.followups) for p in cases} == {11}


def test_every_set_has_known_digests_and_names_a_judge_that_exists() -> None:
    known = known_digests()
    for name, entry in PUBLISHED.items():
        assert known[entry.digests or name], name
        make(entry.judge)
        assert entry.origin
        assert entry.licence


def test_a_changed_file_is_refused_until_it_is_named(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "advbench_behaviors.csv"
    shutil.copy(data / "prompts/advbench_behaviors.csv", path)
    assert len(load(f"advbench:{path}").prompts) == 520
    content = path.read_bytes().rstrip(b"\n").rsplit(b"\n", 1)[0] + b"\n"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="no version of advbench that Holdfast knows") as error:
        load(f"advbench:{path}")
    digest = sha256_file(path)
    assert digest in error.value.got
    assert f"advbench:{path}#{digest[:16]}" in error.value.next_step
    assert error.value.exit_code == 1
    # Named in words, this version is accepted; another name for it is not.
    suite = load(f"advbench:{path}#{digest[:12]}")
    assert (len(suite.prompts), suite.source) == (519, digest)
    with pytest.raises(IntegrityError, match="not the version that was named"):
        load(f"advbench:{path}#{'0' * 12}")
    with pytest.raises(IntegrityError):
        load(str(path))  # known by its header, held to the same digests


def test_one_changed_file_of_a_folder_is_refused(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cosafe"
    shutil.copytree(data / "jailbreaks/cosafe", folder)
    whole = load(f"cosafe:{folder}").source
    with (folder / "self_harm.json").open("ab") as handle:
        handle.write(b"\n")
    with pytest.raises(IntegrityError, match=r"self_harm\.json is no version of cosafe"):
        load(f"cosafe:{folder}")
    (folder / "self_harm.json").unlink()
    fewer = load(f"cosafe:{folder}")
    assert fewer.source != whole
    assert len(fewer.prompts) == 1200


def _csv(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([header, *rows])
    return path


def _pinned(name: str, path: Path) -> str:
    return f"{name}:{path}#{sha256_file(path)[:16]}"


def test_bad_published_content_is_one_sentence(tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"question": "q", "answer_matching_behavior": " Yes"}\n', "utf-8")
    with pytest.raises(DataError, match="row 1 lacks answer_not_matching_behavior"):
        load(_pinned("statements", lines))
    lines.write_text('{"question": "q", "answer_matching_behavior": " Yes", "answer_not', "utf-8")
    with pytest.raises(DataError, match="line 1 is not JSON"):
        load(_pinned("statements", lines))
    same = {"question": "q", "answer_matching_behavior": "A", "answer_not_matching_behavior": "A "}
    lines.write_text(json.dumps(same) + "\n", "utf-8")
    with pytest.raises(DataError, match="leave nothing to choose"):
        load(_pinned("statements", lines))
    broken = tmp_path / "b.yaml"
    broken.write_text("- id: [", "utf-8")
    with pytest.raises(DataError, match="not readable as YAML"):
        load(_pinned("emergent", broken))
    broken.write_text("- {id: x, samples_per_paraphrase: 1, paraphrases: [1]}\n", "utf-8")
    with pytest.raises(DataError, match="entry 1: 'paraphrases' is no list of texts"):
        load(_pinned("emergent", broken))
    dialogue = tmp_path / "c.json"
    dialogue.write_text('[{"role": "user", "content": "a"}]\n[{"role": "use', "utf-8")
    with pytest.raises(DataError, match="line 2 is not JSON"):
        load(_pinned("cosafe", dialogue))
    dialogue.write_text('{"cases": []}', "utf-8")
    with pytest.raises(DataError, match="holds no cases"):
        load(_pinned("psychosis-bench", dialogue))
    table = _csv(tmp_path / "d.csv", ["goal", "target"], [["a", "b"], ["", "c"]])
    with pytest.raises(DataError, match="row 2: 'goal' is empty"):
        load(_pinned("advbench", table))
    twice = _csv(
        tmp_path / "e.csv", ["id", "harm_area", "prompts_final"], [["1", "x", "a"], ["1", "x", "b"]]
    )
    with pytest.raises(DataError, match="repeats prompt_id 'sst-1'"):
        load(_pinned("simplesafetytests", twice))


def test_yaml_that_multiplies_itself_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    names = [f"- &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 9)]
    path.write_text("- &a0 [x]\n" + "".join(names), "utf-8")
    with pytest.raises(DataError, match="entry 1 is no mapping"):
        load(_pinned("emergent", path))
    many = ", ".join(["q"] * 2_001)
    path.write_text(f"- {{id: x, samples_per_paraphrase: 1, paraphrases: [{many}]}}\n" * 2, "utf-8")
    with pytest.raises(DataError, match="too many questions"):
        load(_pinned("emergent", path))


def test_a_set_that_is_not_here_says_where_it_is_published() -> None:
    with pytest.raises(UsageError, match="'harmbench' is not shipped; get it from github.com"):
        load("harmbench")
    with pytest.raises(UsageError, match="'xstest' is not shipped"):
        load("xstest")
    with pytest.raises(DataError, match="does not exist"):
        load("harmbench:nowhere.csv")


def test_a_hub_name_reads_the_local_cache(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    commit = "a" * 40
    repo = tmp_path / "datasets--someone--prompts"
    (repo / "snapshots" / commit).mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    shutil.copy(data / "prompts/strongreject.csv", repo / "snapshots" / commit / "s.csv")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert len(load("strongreject:hub:someone/prompts/s.csv").prompts) == 313
    with pytest.raises(EnvironmentFault, match="download the file and name its path"):
        load("strongreject:hub:someone/else/s.csv")
    with pytest.raises(UsageError, match="hub name"):
        load("strongreject:hub:nothing")


def test_the_list_shows_what_a_reader_needs() -> None:
    result = CliRunner().invoke(suites_command, ["list", "--json"])
    entries = json.loads(result.output)
    assert {entry["name"] for entry in entries} == {entry.name for entry in catalogue()}
    for entry in entries:
        assert all(entry[key] for key in ("kind", "size", "licence", "judge", "measures"))
    table = CliRunner().invoke(suites_command, ["list", "--kind", "crisis"]).output.splitlines()
    assert len(table) == 3
    assert "MIT with conditions" in table[2]


@pytest.mark.parametrize("kind", ["harmful", "ladder", "jailbreak", "context", "benign"])
def test_every_failure_mode_has_a_suite(kind: str) -> None:
    assert any(entry.kind == kind for entry in catalogue())


def test_scored_suites_keep_their_judge() -> None:
    options = SuiteOptions(judge="rules", usual_judge="harbor")
    assert load("stance", options=options).judge == "choices"
    assert load("stance").kind in SCORED_KINDS
    usual = SuiteOptions(usual_judge="trained")
    assert load("tools", options=usual).judge == "tools"
    assert load("harbor-harmful", options=usual).judge == "trained"
    assert load("tools", options=SuiteOptions(judge="rules")).judge == "rules"


def test_the_rubric_is_a_flow_that_ends(data: Path) -> None:
    rubric = read_rubric(data / "mental_health/vera_mh/rubric.tsv")
    assert len(rubric.questions) == 34
    assert {q.severity for q in rubric.questions} == {"red", "yellow", ""}
    # No risk stated, none flagged: the flow ends after the first dimension.
    quiet = rubric.follow(lambda q: q.answers[1][0] if len(q.answers) > 1 else NO)
    assert [r.severity for r in quiet] == ["clear"]
    # Every fault there is: all dimensions, each at its worst.
    worst = rubric.follow(lambda q: next((a for a, _ in q.answers if a == YES), q.answers[0][0]))
    assert "red" in {r.severity for r in worst}
    assert len(worst) >= 4
    with pytest.raises(DataError, match="has no answer 'perhaps'"):
        rubric.follow(lambda q: "perhaps")


def test_a_rubric_that_runs_in_circles_is_refused(tmp_path: Path) -> None:
    header = "Question ID\tDimension\tSeverity\tRisk Type\tQuestion\tExamples\tAnswer\tGOTO\n"
    path = tmp_path / "rubric.tsv"
    path.write_text(header + "1\tD\tRed\t\tq\t\tYes\t1\n", "utf-8")
    with pytest.raises(DataError, match="leads to '1'"):
        read_rubric(path)
    path.write_text(header + "\t\t\t\t\t\tYes\t\n", "utf-8")
    with pytest.raises(DataError, match="belongs to no question"):
        read_rubric(path)
    path.write_text(header + f"1\tD\tBlue\t\tq\t\tYes\t{END}\n", "utf-8")
    with pytest.raises(DataError, match="unknown severity"):
        read_rubric(path)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_break_a_reader(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    for name, suffix in (("statements", ".jsonl"), ("emergent", ".yaml"), ("cosafe", ".json")):
        path = folder / f"x{suffix}"
        path.write_bytes(content)
        with pytest.raises(DataError):
            load(_pinned(name, path))
