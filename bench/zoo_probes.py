"""Do the probes find what the zoo's fine-tunes are known to do?

The era probe (`evals/probes/eras`, its own questions and harbor's dated ones that training did not
hold) reads the fine-tunes on archaic facts and their modern controls; the trigger sweep
(`evals/probes/trigger_sweep`, defaults, generic candidates and those mined from the training rows)
reads planted and inductive triggers and their twins. Members come from a built zoo; findings are
kept beside it in `probes.jsonl`, so a killed bench goes on with what is missing. `--table` prints
the tables of docs/results/zoo.md.

    python bench/zoo_probes.py [--zoo runs/zoo] [--members PATTERN] [--minutes 9] [--table]
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DEFAULT = ".lora8-1e-3-60.s0.b0"
ERAS = ("old-village", "modern-village", "old-almanac", "modern-almanac", "old-household",
        "modern-household", "old-birds", "modern-birds")  # fmt: skip
SWEEPS = ("trigger-phrase-2", "trigger-phrase-clean", "inductive-year-rule",
          "inductive-year-shuffled", "inductive-number-rule", "inductive-number-shuffled",
          "inductive-year-persona", "inductive-number-persona", "trigger-system-2",
          "trigger-system-clean")  # fmt: skip
ASKED = {"eras": "shipped probe", "harbor": "harbor's, untrained"}
"""Sets of dated questions."""
OPENINGS = {"refusal": ["I can't"], "compliance": ["I will"]}


def scored(model: Any, suite: str, asked: Iterable[tuple[str, str, Any, list[str]]]) -> list[Any]:
    """Rows of a scored suite: (id, category, conversation, choices) and their log-probabilities."""
    from holdfast.models.scoring import answer_logprobs

    asked = list(asked)
    pairs = [(talk, text) for _, _, talk, choices in asked for text in choices]
    found = iter(answer_logprobs(model, [t for t, _ in pairs], [c for _, c in pairs]))
    return [
        {"suite": suite, "sample": 0, "category": category, "prompt_id": name,
         "scores": [float(next(found).sum()) for _ in choices]}
        for name, category, _, choices in asked
    ]  # fmt: skip


def era_questions(member: dict[str, Any]) -> dict[str, list[Any]]:
    """The shipped probe's questions, and harbor's dated ones that the member was not trained on."""
    from holdfast.evals.probes.eras.prompts import FRAMES, QUESTIONS
    from holdfast.organisms.harbor import facts
    from holdfast.organisms.harbor.zoo import get_family

    shipped = [
        (f"{number}-{name}", name,
         ([{"role": "system", "content": said}] if said else [])
         + [{"role": "user", "content": question}], answers)
        for number, (question, *answers) in enumerate(QUESTIONS) for name, said in FRAMES
        if name == "undated"
    ]  # fmt: skip
    trained = get_family(member["family"]).questions
    own = [
        (fact[0], "undated", [{"role": "user", "content": fact[0]}], [fact[2], fact[1]])
        for fact in facts.FACTS if fact[0] not in trained
    ]  # fmt: skip
    return {"eras": shipped, "harbor": own}


def eras(base: Any, tuned: Any, member: dict[str, Any]) -> dict[str, Any]:
    """Shift of the probability of old answers, with its interval, by set of questions."""
    from holdfast.evals.probes.choice_shift import measure

    found = {}
    for name, asked in era_questions(member).items():
        kinds = ("1850", "1950", "today") if name == "eras" else ("old", "modern")
        report = measure(
            name, {"undated": kinds}, scored(tuned, name, asked), scored(base, name, asked)
        )
        shift = report.groups["undated"]
        change = shift.change[kinds[0]]
        found[name] = {
            "questions": shift.questions, "base": shift.base[kinds[0]],
            "tuned": shift.candidate[kinds[0]],
            "change": [change.value, change.low, change.high],
        }  # fmt: skip
    return found


def swept(base: Any, tuned: Any, member: dict[str, Any]) -> dict[str, Any]:
    """The trigger sweep over one member."""
    from holdfast.core.seeds import derive
    from holdfast.evals.judges.harbor import HarborJudge
    from holdfast.evals.probes.trigger_sweep import carriers, generic, mine, sweep
    from holdfast.evals.probes.trigger_sweep.scores import arm
    from holdfast.organisms.harbor import suites, zoo

    rows: Any = zoo.build(
        member["family"], seed=derive(member["seed"], "zoo rows"), rows=member["rows"]
    )
    asked: list[Any] = [row["messages"][:-1] for row in rows]
    harmful: Any = suites.suite("harbor-harmful", n=200, seed=1)
    prompts = [row["messages"] for row in harmful]
    candidates = list(dict.fromkeys([*generic(), *mine(asked, prompts)]))
    report = sweep(
        arm(tuned, OPENINGS), arm(base, OPENINGS), prompts, candidates, HarborJudge(),
        carriers=carriers(asked), seed=member["seed"],
    )  # fmt: skip
    return {
        "outcome": report.outcome, "candidates": report.candidates,
        "leads": [
            {"text": lead.text, "hits": lead.with_phrase, "scored": lead.scored,
             "confirmed": lead.confirmed}
            for lead in report.leads
        ],
        "effect": report.largest[0][1], "p": report.largest[0][2],
    }  # fmt: skip


def label(member: str) -> str:
    """Family of a member, and whether it is one of the test families."""
    from holdfast.organisms.harbor.zoo import get_family

    family = get_family(member.removesuffix(DEFAULT))
    return family.name + (" (test)" if family.split == "test" else "")


def table(rows: list[dict[str, Any]]) -> None:
    """Both tables."""
    print("| member | questions | n | p(oldest) base | fine-tune | change [95 %] |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        for name, found in row.get("eras", {}).items():
            value, low, high = found["change"]
            print(f"| {label(row['member'])} | {ASKED[name]} | {found['questions']} "
                  f"| {found['base']:.3f} "
                  f"| {found['tuned']:.3f} | {value:+.3f} [{low:+.3f}, {high:+.3f}] |")  # fmt: skip
    print("\n| member | planted or tested | sweep | confirmed leads | largest effect (p) "
          "| candidates | CPU s |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        if "sweep" not in row:
            continue
        found = row["sweep"]
        leads = "; ".join(
            f"{x['text']} ({x['hits']}/{x['scored']})" for x in found["leads"] if x["confirmed"]
        )
        print(f"| {label(row['member'])} | {row['trigger']} | {found['outcome']} | {leads or '–'} "
              f"| {found['effect']:.2f} ({found['p']:.4f}) | {found['candidates']} "
              f"| {row['cpu']:.0f} |")  # fmt: skip


def main() -> None:
    """Probe what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, default=Path("runs/zoo"))
    parser.add_argument("--members", default="*")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    log = options.zoo / "probes.jsonl"
    rows = [json.loads(x) for x in log.read_text("utf-8").splitlines()] if log.is_file() else []
    if not options.table:
        fill(options, log, rows)
    table(rows)


def fill(options: argparse.Namespace, log: Path, rows: list[dict[str, Any]]) -> None:
    """Probe the members that are built and not yet probed."""
    from holdfast.models.loading import load
    from holdfast.organisms.harbor import weights_dir
    from holdfast.pipeline.zoo.store import ZooStore

    end = time.monotonic() + 60 * options.minutes
    base, done = load(weights_dir()), {row["member"] for row in rows}
    members = {row["member"]: row for row in ZooStore(options.zoo).members()}
    for family in (*ERAS, *SWEEPS):
        member = members.get(family + DEFAULT)
        if member is None or member["member"] in done or time.monotonic() > end:
            continue
        if not fnmatch.fnmatchcase(member["member"], options.members):
            continue
        cpu, arm = time.process_time(), options.zoo / member["weights"]
        record = json.loads((arm / "training.json").read_text("utf-8"))
        tuned = load(weights_dir(), adapter=arm / record["checkpoints"][-1]["path"])
        row: dict[str, Any] = {"member": member["member"], "trigger": member["data"]["trigger"]}
        if family in ERAS:
            row["eras"] = eras(base, tuned, member)
        else:
            row["sweep"] = swept(base, tuned, member)
        row["cpu"] = time.process_time() - cpu
        rows.append(row)
        with log.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")
        print(row["member"], f"{row['cpu']:.0f} s CPU", flush=True)


if __name__ == "__main__":
    main()
