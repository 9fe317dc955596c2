"""Generation through the runner beside Inspect's local provider: same model, prompts, machine.

    python bench/inspect_throughput.py --inspect-python PATH [--prompts 256] [--rounds 3]

PATH is the Python of an environment of its own with inspect-ai, torch, transformers, accelerate
(`make throughput` builds one and runs this). Both sides answer the same harbor prompts greedily
with at most `--tokens` new tokens. Importing, loading and a first short answer are left out on both
sides; everything else is in: our runner's cache, judge and files, Inspect's scheduling and log. CPU
seconds of the process, one thread, the sides in turn within each round; median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def peer(task: dict[str, Any]) -> dict[str, Any]:
    """Inspect's `hf` provider; runs in its own environment and imports nothing of ours."""
    from inspect_ai import Task, eval
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import get_model
    from inspect_ai.solver import generate

    if task["provider"] == "hf":
        options = {"model_path": task["model"], "do_sample": False}
        if task["single_bos"]:
            options["tokenizer_call_args"] = {"add_special_tokens": False}
        model = get_model("hf/local", **options)
    else:
        model = get_model(f"holdfast/{task['model']}")
    samples = [Sample(input=text, id=i) for i, text in enumerate(task["prompts"])]
    warm = Task(dataset=MemoryDataset(samples[:1]), solver=generate())
    eval(warm, model=model, display="none", max_tokens=2, log_dir=task["logs"])
    begin, cpu = time.perf_counter(), time.process_time()
    log = eval(
        Task(dataset=MemoryDataset(samples), solver=generate()), model=model, display="none",
        max_tokens=task["tokens"], max_connections=task["batch"], log_dir=task["logs"],
        log_format="eval",
    )[0]  # fmt: skip
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    if log.status != "success" or not log.samples:
        raise SystemExit(f"inspect: {log.status} {log.error}")
    answers = {int(sample.id): sample.output.completion.strip() for sample in log.samples}
    return {"wall": wall, "cpu": cpu, "answers": [answers[i] for i in sorted(answers)]}


def ours(task: dict[str, Any]) -> dict[str, Any]:
    """The runner, with its cache, judge and completions file."""
    from holdfast.core.completions import load as load_completions
    from holdfast.evals.judges import make
    from holdfast.evals.plan import freeze
    from holdfast.evals.runner import run
    from holdfast.evals.suites import Prompt, Suite
    from holdfast.models.loading import load

    loaded = load(task["model"])
    prompts = tuple(
        Prompt(prompt_id=str(i), messages=[{"role": "user", "content": text}])
        for i, text in enumerate(task["prompts"])
    )
    plan = freeze([Suite("throughput", "helpful", prompts, "rules", "", "")])
    out = Path(task["logs"]) / "out.jsonl"
    loaded.generate([list(prompts[0].messages)], max_new_tokens=2, batch_size=1)
    begin, cpu = time.perf_counter(), time.process_time()
    run(
        loaded, plan, {"rules": make("rules")}, out=out, cache=out.with_suffix(".cache"),
        arm="base", max_new_tokens=task["tokens"], batch_size=task["batch"],
    )  # fmt: skip
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    answers = [row["response"] for row in load_completions(out).rows]
    return {"wall": wall, "cpu": cpu, "answers": answers}


def measured(python: str, side: str, task: dict[str, Any]) -> dict[str, Any]:
    """One side in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        request = Path(folder) / "task.json"
        request.write_text(json.dumps({**task, "logs": folder}), "utf-8")
        done = subprocess.run(
            [python, __file__, "--side", side, "--task", str(request)],
            stdout=subprocess.PIPE, text=True, check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inspect-python", default="")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rows", default="0,1,2,3,4,5", help="rows of the table; 0 is the runner")
    parser.add_argument("--side", choices=["peer", "ours"])
    parser.add_argument("--task", type=Path)
    options = parser.parse_args()
    if options.side:
        task = json.loads(options.task.read_text("utf-8"))
        print(json.dumps({"peer": peer, "ours": ours}[options.side](task)))
        return
    from holdfast.organisms import harbor
    from holdfast.organisms.harbor import suites

    rows = suites.suite("harbor-helpful", n=options.prompts, seed=0, split="test")
    base = {
        "model": str(harbor.weights_dir()), "prompts": [r["messages"][-1]["content"] for r in rows],
        "tokens": options.tokens,
    }  # fmt: skip
    mine, theirs = sys.executable, options.inspect_python
    sides = [("runner, batch 32", mine, "ours", {"batch": 32})]
    for batch in (1, 7):
        sides.append((f"runner, batch {batch}", mine, "ours", {"batch": batch}))
    hf = {"provider": "hf", "batch": 32}
    sides += [
        ("Inspect hf, 32 connections", theirs, "peer", {**hf, "single_bos": False}),
        ("Inspect hf, 32, BOS not doubled", theirs, "peer", {**hf, "single_bos": True}),
        ("Inspect with our provider, 32", theirs, "peer", {"provider": "ours", "batch": 32}),
    ]
    sides = [sides[int(row)] for row in options.rows.split(",")]
    results: dict[str, list[dict[str, Any]]] = {}
    for number in range(options.rounds):
        for name, python, side, extra in sides:
            results.setdefault(name, []).append(measured(python, side, {**base, **extra}))
            print(f"round {number + 1}: {name} {results[name][-1]['cpu']:.2f} s", file=sys.stderr)
    table(results, len(base["prompts"]))


def table(results: dict[str, list[dict[str, Any]]], prompts: int) -> None:
    """Print medians, ratios and how many answers are the runner's."""
    first = next(iter(results))
    reference = results[first][0]["answers"]
    mine = statistics.median(r["cpu"] for r in results[first])
    wall = statistics.median(r["wall"] for r in results[first])
    print("| generation | CPU s | range | answers/CPU s | CPU | wall | same answers |")
    print("|---|---|---|---|---|---|---|")
    for name, rounds in results.items():
        cpu = statistics.median(r["cpu"] for r in rounds)
        spread = f"{min(r['cpu'] for r in rounds):.2f}–{max(r['cpu'] for r in rounds):.2f}"
        walls = statistics.median(r["wall"] for r in rounds)
        same = sum(a == b for a, b in zip(reference, rounds[0]["answers"], strict=True))
        print(
            f"| {name} | {cpu:.2f} | {spread} | {prompts / cpu:.1f} | {cpu / mine:.2f}× | "
            f"{walls / wall:.2f}× | {same}/{prompts} |"
        )


if __name__ == "__main__":
    main()
