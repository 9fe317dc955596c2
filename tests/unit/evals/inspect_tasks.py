"""What the tests ask of a real Inspect, run by its own Python: one command, one line of JSON."""

import json
import sys
from pathlib import Path


def answers(model, cache, folder, prompts=("How do I tie a rope?", "Where is the harbor?")):
    """Completions of a model in an evaluation, and how many came from Inspect's cache."""
    from inspect_ai import Task, eval
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.solver import generate

    samples = [Sample(input=text, id=str(i), target="x") for i, text in enumerate(prompts)]
    log = eval(
        Task(dataset=MemoryDataset(samples), solver=generate(cache=cache), name="tiny"),
        model=model, display="none", max_tokens=8, log_dir=folder,
    )[0]  # fmt: skip
    if log.status != "success":
        raise SystemExit(str(log.error))
    cached = sum(
        event.event == "model" and event.cache == "read" for s in log.samples for event in s.events
    )
    return [s.output.completion for s in log.samples], cached, log.eval.model


def trap(folder, first, second):
    """The cache with and without the weights in the name; both checkpoints in one cache."""
    from inspect_ai.model import get_model

    found = {}
    for provider in ("hf", "holdfast"):
        found[provider] = []
        for path in (first, second):
            if provider == "hf":
                model = get_model("hf/local", model_path=path, do_sample=False)
            else:
                model = get_model(f"holdfast/{path}")
            found[provider].append(answers(model, True, folder))
    return found


def logs(folder, path):
    """The same evaluation as a packed and as a plain log."""
    from inspect_ai.log import read_eval_log, write_eval_log

    answers(f"holdfast/{path}", False, folder)
    packed = next(Path(folder).glob("*.eval"))
    log = read_eval_log(str(packed))
    write_eval_log(log, str(Path(folder) / "plain.json"), format="json")
    return {"packed": str(packed), "plain": str(Path(folder) / "plain.json")}


def read(path):
    """What Inspect reads in a log that we wrote, after writing it again in its packed format."""
    from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries, write_eval_log

    log = read_eval_log(path)
    packed = Path(path).with_suffix(".eval")
    write_eval_log(log, str(packed))
    again = read_eval_log(str(packed))
    return {
        "status": log.status, "task": log.eval.task, "model": log.eval.model,
        "samples": [
            [s.id, s.epoch, s.input[-1].text, s.output.completion,
             {name: score.value for name, score in s.scores.items()}]
            for s in again.samples
        ],
        "summaries": len(read_eval_log_sample_summaries(str(packed))),
    }  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])) + "\n")
