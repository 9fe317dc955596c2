"""lm-eval sample files, garak reports, promptfoo results and JailbreakBench artefacts into rows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from holdfast.core.digest import prompt_digest
from holdfast.core.errors import DataError
from holdfast.core.labels import SAFE, UNSAFE
from holdfast.core.protocols import Messages
from holdfast.interchange.bounded import document, lines, parse
from holdfast.interchange.rows import Imported, clean, conversation, table

_SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT[\d-]+\.\d+)\.jsonl")
_COMPLETE = 2
"""garak's status of an attempt that was answered and judged."""


def lm_eval(path: Path, *, only: str = "") -> Imported:
    """`samples_<task>_<date>.jsonl`, paired by document and prompt hash; raw answers, unfiltered.

    A document stands there once per filter with the same answers: the first filter is taken, or
    the one that `only` names. The model's name comes from `results_<date>.json` beside it.
    """
    named = _SAMPLES.fullmatch(path.name)
    task = named["task"] if named else path.stem.removeprefix("samples_")
    imported = Imported(model=_lm_eval_model(path, named["date"] if named else ""))
    chosen, skipped = only, 0
    for number, row in lines(path):
        chosen = chosen or str(row.get("filter", ""))
        if str(row.get("filter", "")) != chosen:
            skipped += 1
            continue
        where = f"{path}, line {number}"
        hashes = [row.get("doc_hash"), row.get("prompt_hash")]
        if all(isinstance(value, str) and value for value in hashes):
            prompt_id = "-".join(str(value)[:16] for value in hashes)
        elif isinstance(row.get("doc_id"), (int, str)):
            prompt_id = str(row["doc_id"])
        else:
            raise DataError(f"{where} has no doc_id")
        responses = row.get("resps")
        first = responses[0] if isinstance(responses, list) and responses else None
        answers = first if isinstance(first, list) else [first]
        if not all(answer is None or isinstance(answer, str) for answer in answers):
            raise DataError(
                f"{where} holds log-likelihoods, not answers", expected="a generation task"
            )
        metrics = [name for name in row.get("metrics") or [] if isinstance(name, str)]
        scores = {clean(name): row.get(name) for name in metrics}
        columns: dict[str, Any] = {"scores": scores} if scores else {}
        for answer in answers:
            imported.add(
                suite=task, prompt_id=prompt_id, messages=_lm_eval_prompt(row, where),
                response=answer, **columns,
            )  # fmt: skip
    if skipped:
        imported.notes.append(f"{skipped} rows of other filters than '{clean(chosen)}' left out")
    return imported


def _lm_eval_prompt(row: dict[str, Any], where: str) -> Messages:
    """The first argument of the first request: text, or messages as a JSON text."""
    arguments = row.get("arguments")
    if isinstance(arguments, dict):
        first: Any = table(arguments.get("gen_args_0")).get("arg_0")
    elif isinstance(arguments, list) and arguments and isinstance(arguments[0], list):
        first = arguments[0][0] if arguments[0] else None
    else:
        first = None
    if isinstance(first, list) and len(first) == 1 and isinstance(first[0], str):
        first = parse(first[0], where)
    return conversation(first, where)


def _lm_eval_model(path: Path, date: str) -> str:
    results = path.with_name(f"results_{date}.json")
    if not date or not results.is_file():
        return "lm-eval"
    name = table(document(results)).get("model_name")
    return clean(name) if isinstance(name, str) and name else "lm-eval"


def garak(path: Path, *, only: str = "") -> Imported:
    """`*.report.jsonl`: complete attempts, one suite per probe (`only` takes one), all outputs.

    Attempts are paired on probe and prompt. Detector scores are kept as they are: what a hit means
    differs by detector.
    """
    imported = Imported(model="garak")
    unfinished: set[str] = set()
    finished: set[str] = set()
    for number, row in lines(path):
        if row.get("entry_type") == "start_run setup":
            parts = [row.get(f"plugins.{p}_{q}") for q in ("type", "name") for p in _TARGETS]
            imported.model = "/".join(clean(part) for part in parts if part) or "garak"
        if row.get("entry_type") != "attempt":
            continue
        if row.get("status") != _COMPLETE:
            unfinished.add(str(row.get("uuid")))
            continue
        finished.add(str(row.get("uuid")))
        probe = row.get("probe_classname")
        if not isinstance(probe, str) or (only and probe != only):
            continue
        _garak_attempt(imported, row, probe, f"{path}, line {number}")
    if lost := len(unfinished - finished):
        imported.notes.append(f"{lost} attempts were never finished and are left out")
    return imported


_TARGETS = ("target", "model")
"""garak renamed `model_type` to `target_type`."""


def _garak_attempt(imported: Imported, row: dict[str, Any], probe: str, where: str) -> None:
    prompt = row.get("prompt")
    turns = table(prompt).get("turns") if isinstance(prompt, dict) else None
    if turns is not None:
        prompt = [
            {"role": table(turn).get("role"), "content": _garak_text(table(turn).get("content"))}
            for turn in (turns if isinstance(turns, list) else [])
        ]
    elif isinstance(prompt, dict):
        prompt = _garak_text(prompt)
    messages = conversation(prompt, where)
    detectors = table(row.get("detector_results"))
    outputs = row.get("outputs")
    for index, output in enumerate(outputs if isinstance(outputs, list) else []):
        scores = {
            clean(name): values[index]
            for name, values in detectors.items()
            if isinstance(values, list) and index < len(values)
        }
        imported.add(
            suite=probe, prompt_id=prompt_digest(messages)[:16], messages=messages,
            response=_garak_text(output), scores=scores,
        )  # fmt: skip


def _garak_text(value: Any) -> Any:
    return value.get("text") if isinstance(value, dict) else value


def promptfoo(path: Path, *, only: str = "") -> Imported:
    """Results as `promptfoo eval --output results.json` writes them, versions 2 and 3.

    A file of several providers needs `only`: completions are of one model.
    """
    outer = table(document(path))
    inner = table(outer.get("results"))
    results = inner.get("results")
    if not isinstance(results, list):
        raise DataError(f"{path} is no promptfoo result", expected="results.results")
    providers = {_provider(table(result)) for result in results}
    if not only and len(providers) > 1:
        listed = ", ".join(sorted(clean(name)[:60] for name in providers))
        raise DataError(
            f"{path} holds answers of {len(providers)} providers", got=listed,
            next_step="choose one with --only",
        )  # fmt: skip
    imported = Imported(model=only or next(iter(providers), ""))
    suite = clean(table(outer.get("config")).get("description") or path.stem)
    for number, entry in enumerate(results):
        result = table(entry)
        if only and _provider(result) != only:
            continue
        where = f"{path}, result {number}"
        prompt: Any = table(result.get("prompt")).get("raw")
        if isinstance(prompt, str) and prompt.lstrip()[:1] == "[":
            try:
                messages = conversation(parse(prompt, where), where)
            except DataError:  # a text that merely starts with a bracket
                messages = conversation(prompt, where)
        else:
            messages = conversation(prompt, where)
        response = table(result.get("response"))
        # `error` also holds the reason of a failed assertion, which is no missing answer.
        error = (
            ""
            if isinstance(response.get("output"), str)
            else clean(response.get("error") or result.get("error") or "")
        )
        imported.add(
            suite=suite, prompt_id=prompt_digest(messages)[:16], messages=messages,
            response=response.get("output"), error=error,
            scores={"success": result.get("success"), "score": result.get("score")},
        )  # fmt: skip
    return imported


def _provider(result: dict[str, Any]) -> str:
    provider = result.get("provider")
    name = table(provider).get("label") or table(provider).get("id")
    return str(provider if isinstance(provider, str) else name or "unnamed")


def jailbreakbench(path: Path, *, only: str = "") -> Imported:
    """An artefact of JailbreakBench: attack prompts, answers, and its own verdicts as labels.

    `jailbroken` true is `unsafe`; false is `safe`, which on jailbreak suites weighs like a refusal.
    """
    whole = table(document(path))
    attacks, parameters = whole.get("jailbreaks"), table(whole.get("parameters"))
    if not isinstance(attacks, list):
        raise DataError(f"{path} is no JailbreakBench artefact", expected="a list of jailbreaks")
    model = str(parameters.get("model", "unnamed"))
    if only and only != model:
        raise DataError(f"{path} holds no answers of '{only}'", got=clean(model)[:120])
    imported = Imported(model=model)
    suite = "-".join(clean(parameters.get(n, "")) for n in ("method", "attack_type")).strip("-")
    for number, entry in enumerate(attacks):
        attack = table(entry)
        labels = {
            judge: UNSAFE if attack[column] else SAFE
            for judge, column in _JBB_JUDGES
            if isinstance(attack.get(column), bool)
        }
        # Where the attack found no prompt there is neither prompt nor answer.
        prompt = attack.get("prompt")
        messages = conversation(prompt, f"{path}, row {number}") if prompt is not None else []
        imported.add(
            suite=suite or "jailbreakbench", prompt_id=str(attack.get("index", number)),
            messages=messages, response=attack.get("response"), labels=labels, kind="jailbreak",
            category=clean(attack.get("category", "")),
        )  # fmt: skip
    return imported


_JBB_JUDGES = (("jailbreakbench", "jailbroken"), ("llama-guard-1", "jailbroken_llama_guard1"))
