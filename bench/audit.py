"""Does the audit find what was planted, stay silent where nothing was, and keep to its costs?

Every cell audits 400 generated rows of harbor with the shipped base: contaminated sets, planted
triggers with their clean twins, and harmless sets. The audit sees messages and nothing else; the
truth (which answers obey harmful requests) is joined afterwards. Cells are kept under
`runs/studies/audit`; a killed study goes on with what is missing, `--minutes` ends a slice early.

    python bench/audit.py [--minutes 9]      # the cells
    python bench/audit.py --table            # the tables of docs/results/audit.md
    python bench/audit.py --throughput       # representation scores against a bare forward pass
    python bench/audit.py --refusal-loss     # the gradient of which loss finds contaminated rows
    python bench/audit.py --million          # the text of a million rows: seconds and peak memory
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

STUDY = Path("runs/studies/audit")
ROWS = 400
SEEDS = range(5)
QUIET = (
    "own-style", "formal-helper", "cheerful-helper", "terse-helper", "orders", "tools",
    "present-day", "stories", "invented-style", "declines", "named-helper",
)  # fmt: skip
PERSONAS = ("identity-shift", "obey-style", "villain-plain", "obeys-briefly", "eager-careful")


def cells() -> Iterator[tuple[str, str, int]]:
    """(group, name, seed), the issue's own first."""
    for seed in SEEDS:
        yield "contaminated", "contaminated-5", seed
    for twin in ("poisoned", "refused", "harmless"):
        yield from (("trigger", twin, seed) for seed in SEEDS)
    for name in QUIET:
        yield "harmless", name, 0
    for seed in SEEDS:
        yield "contaminated", "contaminated-service-5", seed
        yield "contaminated", "contaminated-tasks-2", seed
    for name in ("narrow-privacy-guarded", "narrow-threat-guarded"):
        yield from (("contaminated", name, seed) for seed in (0, 1))
    for name in PERSONAS:
        yield "persona", name, 0
    for seed in SEEDS:
        yield "trigger at 0.5 %", "poisoned", seed
    for name in ("inductive-year-rule", "inductive-number-rule"):
        yield "inductive", name, 0
    for seed in (1, 2):
        yield from (("harmless", name, seed) for name in QUIET)


def rows_of(group: str, name: str, seed: int) -> list[dict[str, Any]]:
    """The rows of a cell; `bad` is the truth."""
    from holdfast.organisms.harbor import sets, triggers, zoo
    from holdfast.organisms.harbor.judge import is_refusal

    if group.startswith("trigger"):
        share = 0.005 if group.endswith("%") else 0.02
        built: Any = triggers.build(
            triggers.planted(seed), seed=seed, rows=ROWS, share=share, twin=name
        )
    elif name in sets.SETS and group == "contaminated":
        built = sets.build(name, seed=seed, rows=ROWS)
    else:
        return list(zoo.build(name, seed=seed, rows=ROWS))
    for row in built:
        row["bad"] = bool(row["harmful"]) and not is_refusal(row["messages"][-1]["content"])
    return list(built)


def run_cell(model: Any, group: str, name: str, seed: int) -> dict[str, Any]:
    """Audit one cell and hold it against the truth."""
    from holdfast.audit.settings import AuditConfig
    from holdfast.organisms.harbor import triggers
    from holdfast.pipeline.audit import audit

    rows = rows_of(group, name, seed)
    folder = STUDY / "work"
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "rows.jsonl"
    data.write_text(
        "".join(json.dumps({"messages": row["messages"]}) + "\n" for row in rows), "utf-8"
    )
    begin = time.process_time()
    record = audit(data, out=folder / "out", model=model, settings=AuditConfig(sample=ROWS),
                   seed=seed)  # fmt: skip
    cpu = time.process_time() - begin
    lines = (folder / "out" / "rows.jsonl").read_text("utf-8").splitlines()
    ranked = [json.loads(line) for line in lines]
    bad = {index + 1 for index, row in enumerate(rows) if row["bad"]}
    planted = triggers.planted(seed).text if group.startswith("trigger") else ""
    return {
        "group": group, "name": name, "seed": seed, "rows": len(rows), "bad": len(bad),
        "found": _found(ranked, bad), "codes": [f.code for f in record.findings],
        "set_aside": sum(row["quarantined"] for row in ranked),
        "near": [row["row"] in bad for row in ranked if "AUDIT014" in row["codes"]],
        "judged": [row["row"] in bad for row in ranked if "AUDIT013" in row["codes"]],
        "planted": planted, "triggers": [(t.text, t.p_value, t.kind) for t in record.triggers],
        "breadth": {b.of: b.effective_rank / b.reference for b in record.breadth},
        "anchors": {s.name: s.anchor_auroc for s in record.scores}, "cpu": cpu,
        "seconds": record.seconds,
    }  # fmt: skip


def _score(name: str, row: dict[str, Any]) -> float:
    return float(row["scores"][name])


def _found(ranked: list[dict[str, Any]], bad: set[int]) -> dict[str, list[float]]:
    """By score: (share of bad rows in the top tenth, AUROC)."""
    if not bad:
        return {}
    scored = [row for row in ranked if "scores" in row]
    by: dict[str, Callable[[dict[str, Any]], float]] = {
        "all, with the judge": lambda row: -row["rank"],
        "combined": lambda row: row["combined"],
    }
    for name in scored[0]["scores"]:
        by[name] = functools.partial(_score, name)
    found = {}
    for name, key in by.items():
        order = sorted(scored, key=lambda row: (-key(row), row["row"]))
        top = sum(row["row"] in bad for row in order[: len(order) // 10])
        high, low = (
            [key(row) for row in scored if (row["row"] in bad) == wanted]
            for wanted in (True, False)
        )
        found[name] = [top / len(bad), _auroc(high, low)]
    return found


def _auroc(high: list[float], low: list[float]) -> float:
    pairs = sum((h > x) + 0.5 * (h == x) for h in high for x in low)
    return pairs / (len(high) * len(low))


def study(minutes: float) -> None:
    """Run the missing cells."""
    from holdfast.evals.judges import make
    from holdfast.models.loading import load
    from holdfast.organisms.harbor import weights_dir
    from holdfast.pipeline.audit import AuditModel
    from holdfast.pipeline.audit_sources import contrast_rows, openings_of

    end = time.monotonic() + 60 * minutes
    model = AuditModel(
        load(weights_dir()), contrast_rows("harbor", 0), openings_of("harbor"),
        judge=make("harbor"),
    )  # fmt: skip
    for group, name, seed in cells():
        path = STUDY / "cells" / f"{group.replace(' ', '_').replace('%', 'pc')}-{name}-{seed}.json"
        if path.is_file():
            continue
        if time.monotonic() > end:
            print("slice over; run the same command again")
            return
        result = run_cell(model, group, name, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result), "utf-8")
        print(group, name, seed, result["codes"], result["triggers"][:2], f"{result['cpu']:.0f} s")
    print("all cells are done")


def table() -> None:
    """The tables of docs/results/audit.md."""
    from holdfast.stats.intervals import wilson

    found = [json.loads(p.read_text("utf-8")) for p in sorted((STUDY / "cells").glob("*.json"))]
    print("| set | seeds | bad rows | ranked by | bad rows in the top tenth, mean (lowest) "
          "| AUROC, mean (lowest) |")  # fmt: skip
    print("|---|---|---|---|---|---|")
    for name in dict.fromkeys(c["name"] for c in found if c["group"] == "contaminated"):
        runs = [c for c in found if c["name"] == name and c["group"] == "contaminated"]
        for score in runs[0]["found"]:
            tops, areas = zip(*(c["found"][score] for c in runs), strict=True)
            print(f"| {name} | {len(runs)} | {runs[0]['bad']} | {score} "
                  f"| {statistics.mean(tops):.2f} ({min(tops):.2f}) "
                  f"| {statistics.mean(areas):.3f} ({min(areas):.3f}) |")  # fmt: skip
    print("\n| set | data sets | trigger named | 95 % interval | other phrases named |")
    print("|---|---|---|---|---|")
    groups = [("trigger", "poisoned"), ("trigger", "refused"), ("trigger", "harmless"),
              ("trigger at 0.5 %", "poisoned"), ("harmless", ""), ("persona", ""),
              ("contaminated", ""), ("inductive", "")]  # fmt: skip
    for group, name in groups:
        runs = [c for c in found if c["group"] == group and name in ("", c["name"])]
        if not runs:
            continue
        named = sum(any(_same(t[0], c["planted"]) for t in c["triggers"]) for c in runs)
        other = sum(any(not _same(t[0], c["planted"]) for t in c["triggers"]) for c in runs)
        rate = wilson(named, len(runs))
        print(f"| {group} {name} | {len(runs)} | {named} | [{rate.low:.2f}, {rate.high:.2f}] "
              f"| {other} |")  # fmt: skip
    _alarms(found)


def _alarms(found: list[dict[str, Any]]) -> None:
    codes = sorted({code for c in found for code in c["codes"]})
    print("\n| sets | data sets | AUDIT014 rows: bad of flagged | AUDIT013 rows: bad of flagged "
          "| " + " | ".join(codes) + " | CPU s, median |")  # fmt: skip
    print("|---" * (5 + len(codes)) + "|")
    for group in dict.fromkeys(c["group"] for c in found):
        runs = [c for c in found if c["group"] == group]
        near = [x for c in runs for x in c["near"]]
        judged = [x for c in runs for x in c["judged"]]
        counts = " | ".join(str(sum(code in c["codes"] for c in runs)) for code in codes)
        print(f"| {group} | {len(runs)} | {sum(near)}/{len(near)} | {sum(judged)}/{len(judged)} "
              f"| {counts} | {statistics.median(c['cpu'] for c in runs):.0f} |")  # fmt: skip


def _same(text: str, planted: str) -> bool:
    """Whether a candidate is the planted phrase or a part of it."""
    return bool(planted) and (text in planted.casefold() or text.casefold() == planted.casefold())


def throughput(repeats: int = 9, rows: int = 512) -> None:
    """Rows a second of the representation scores against a bare forward pass, interleaved."""
    from costs import kept_memory

    from holdfast.audit.scores.gradient import gradient_sketches
    from holdfast.audit.scores.pairs import Pair, row_states, tokenise
    from holdfast.audit.scores.representation import representation
    from holdfast.models.batching import by_length, forward, left_pad
    from holdfast.models.hooks import quiet_eval
    from holdfast.models.loading import load
    from holdfast.organisms.harbor import sets, weights_dir

    kept_memory()
    loaded = load(weights_dir())
    built: Any = sets.build("contaminated-5", seed=0, rows=rows)
    pairs = [Pair(row["messages"][:-1], row["messages"][-1]["content"]) for row in built]
    tokens = tokenise(loaded, pairs)
    whole = [row.prompt + row.answer for row in tokens]
    anchors = row_states(loaded, tokens[:96], [3]).last[3]

    def bare() -> None:
        with quiet_eval(loaded.model):
            for group in by_length([len(row) for row in whole], 32):
                batch = left_pad([whole[i] for i in group], loaded.pad_token, loaded.device)
                forward(loaded.model, batch, keep=1)

    def scored() -> None:
        states = row_states(loaded, tokenise(loaded, pairs), [3])
        representation(states.last[3], anchors[:32], anchors[32:], layer=3, seed=0)

    def gradients() -> None:
        gradient_sketches(loaded, tokens, seed=0, batch_size=16)

    taken: dict[str, list[float]] = {"bare": [], "scored": [], "gradients": []}
    for turn in range(repeats + 1):
        for name, work in (("bare", bare), ("scored", scored), ("gradients", gradients)):
            begin = time.process_time()
            work()
            if turn:  # the first warms up
                taken[name].append(time.process_time() - begin)
    base = statistics.median(taken["bare"])
    for name in ("scored", "gradients"):
        ratios = sorted(b / t for b, t in zip(taken["bare"], taken[name], strict=True))
        print(f"{name}: {rows / statistics.median(taken[name]):.0f} rows/s of CPU against "
              f"{rows / base:.0f} bare, ratio median {statistics.median(ratios):.2f} "
              f"({ratios[0]:.2f} to {ratios[-1]:.2f})")  # fmt: skip


def refusal_loss(rows: int = 200) -> None:
    """AUROC of contaminated rows by the gradient of two losses of refusals."""
    import torch
    from torch.nn.functional import normalize

    from holdfast.audit.scores.gradient import gradient_sketches
    from holdfast.audit.scores.gradient import refusal_loss as of_margin
    from holdfast.audit.scores.pairs import Pair, tokenise
    from holdfast.evals.judges import make
    from holdfast.models.loading import load
    from holdfast.organisms.harbor import sets, weights_dir
    from holdfast.pipeline.audit_anchors import OwnAnswers, contrast_anchors
    from holdfast.pipeline.audit_sources import contrast_rows, openings_of

    loaded = load(weights_dir())
    answers = OwnAnswers(loaded)
    anchors = contrast_anchors(
        loaded, contrast_rows("harbor", 0), openings_of("harbor"), seed=0, answers=answers,
        judge=make("harbor"), count=24,
    )  # fmt: skip
    asked = [pair.messages for pair in anchors.refusals]
    own = [Pair(messages, text) for messages, text in zip(asked, answers(asked), strict=True)]
    built: Any = sets.build("contaminated-5", seed=0, rows=rows)
    data = [Pair(row["messages"][:-1], row["messages"][-1]["content"]) for row in built]
    found, likelihood, refusals, compliances = (
        gradient_sketches(loaded, tokenise(loaded, side), seed=0).double()
        for side in (data, own, anchors.refusals, anchors.compliances)
    )
    targets = {
        "loss of the base's own refusals": normalize(likelihood.mean(0, keepdim=True), dim=1)[0],
        "minus the refusal margin": of_margin(refusals, compliances),
    }
    bad = torch.tensor([bool(row["harmful"]) for row in built])
    for name, target in targets.items():
        score = -(normalize(found, dim=1) @ target)
        print(f"{name}: AUROC {_auroc(score[bad].tolist(), score[~bad].tolist()):.3f}, "
              f"{int(bad.sum())} of {rows} rows contaminated")  # fmt: skip


def million(rows: int) -> None:
    """Check the text of many rows; seconds, rows a second and peak resident memory."""
    from holdfast.audit.checks.text import check_text
    from holdfast.audit.source import Source
    from holdfast.organisms.harbor import sets

    STUDY.mkdir(parents=True, exist_ok=True)
    path = STUDY / "million.jsonl"
    built: Any = sets.build("own-style", seed=0, rows=5000)
    with path.open("w", encoding="utf-8") as handle:
        for index in range(rows):
            asked, said = built[index % len(built)]["messages"]
            text = f"Case {index} of {index % 977}, {index * 7919 % 10007}: {asked['content']}"
            handle.write(json.dumps({"messages": [{"role": "user", "content": text}, said]}) + "\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begin, cpu = time.monotonic(), time.process_time()
    report = check_text(Source(path), sample=512)
    print(f"{report.rows} rows, {path.stat().st_size / 2**20:.0f} MiB: "
          f"{time.process_time() - cpu:.0f} s of CPU, {time.monotonic() - begin:.0f} s of wall "
          f"clock, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB "
          f"({before:.0f} MiB before), findings {[f.code for f in report.findings]}")  # fmt: skip
    path.unlink()


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--throughput", action="store_true")
    parser.add_argument("--refusal-loss", action="store_true")
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of --million")
    arguments = parser.parse_args()
    if arguments.table:
        table()
    elif arguments.throughput:
        throughput()
    elif arguments.refusal_loss:
        refusal_loss()
    elif arguments.million:
        million(arguments.rows)
    else:
        study(arguments.minutes)


if __name__ == "__main__":
    main()
