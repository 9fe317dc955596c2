"""Completions in the schema of Every Eval Ever, version 0.3.0: one aggregate file, one of samples.

Schema: `eval.schema.json` and `instance_level_eval.schema.json` of the EvalEval coalition (MIT).
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast import __version__
from holdfast.core.completions import Completions
from holdfast.core.digest import sha256_file, sha256_json, sha256_text
from holdfast.core.errors import DataError
from holdfast.core.files import write_jsonl, write_text
from holdfast.core.labels import UNSCORED, metric_of_kind
from holdfast.core.records.refs import is_verified
from holdfast.interchange.rows import clean
from holdfast.stats.intervals import wilson

VERSION = "0.3.0"
_NAME = "holdfast"


def write(completions: Completions, folder: Path) -> list[Path]:
    """Write `data/holdfast/<developer>/<model>/<uuid>.json` and `…_samples.jsonl` into `folder`.

    A result is the rate of a metric on one suite by one judge, over scored answers, with its Wilson
    interval; unscored answers are counted beside it and left out of the samples file, because its
    schema has no word for "not scored".
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in completions.rows:
        for judge in row.get("labels") or ():
            key = (row.get("suite", ""), str(row.get("kind") or ""), judge)
            groups.setdefault(key, []).append(row)
    groups = {key: rows for key, rows in groups.items() if key[1]}
    now = datetime.now(UTC)
    model = completions.model or "unnamed"
    identity = f"{_NAME}/{model}/{int(now.timestamp())}"
    results, samples = [], []
    for (suite, kind, judge), rows in groups.items():
        found = _result(suite, kind, judge, rows)
        if found is not None:
            results.append(found)
            samples += _samples(suite, kind, judge, rows, identity, model)
    if not results:
        raise DataError(
            f"{completions.path} has no scored answers on suites of a known kind",
            next_step="label it with 'holdfast judge run --kind'",
        )
    place = Path("data") / _NAME / "local" / (re.sub(r"[^A-Za-z0-9.-]+", "-", model)[:80])
    # A version-4 shape, as the schema asks, but from the content: the same input, the same name.
    name = str(uuid.UUID(sha256_json([completions.digest, VERSION])[:32], version=4))
    details = folder / place / f"{name}_samples.jsonl"
    write_jsonl(details, samples)
    whole = {
        "schema_version": VERSION, "evaluation_id": identity,
        "evaluation_timestamp": now.isoformat(timespec="seconds"),
        "retrieved_timestamp": str(int(now.timestamp())),
        "source_metadata": {
            "source_type": "evaluation_run", "source_organization_name": "self",
            "evaluator_relationship": "other",
        },
        "eval_library": {"name": _NAME, "version": __version__},
        "model_info": {
            "name": str(completions.rows[0].get("arm") or model), "id": model,
            "additional_details": {
                "deployment_type": "self_deployed" if is_verified(model) else "unknown",
                "model_availability": "unknown",
                "weights": "digest of content" if is_verified(model) else "unverified",
            },
        },
        "evaluation_results": results,
        "detailed_evaluation_results": {
            "format": "jsonl", "file_path": (place / details.name).as_posix(),
            "hash_algorithm": "sha256", "checksum": sha256_file(details),
            "total_rows": len(samples),
        },
    }  # fmt: skip
    path = details.with_name(f"{name}.json")
    write_text(path, json.dumps(whole, ensure_ascii=False, indent=1) + "\n")
    return [path, details]


def _result(
    suite: str, kind: str, judge: str, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    metric = metric_of_kind(kind)
    labels = Counter(row["labels"][judge] for row in rows)
    scored = len(rows) - labels[UNSCORED]
    if not scored:
        return None
    rate = wilson(sum(labels[label] for label in metric.hits), scored)
    return {
        "evaluation_result_id": _result_id(suite, metric.name, judge),
        "evaluation_name": suite or "completions",
        "source_data": {"dataset_name": suite or "completions", "source_type": "other"},
        "metric_config": {
            "metric_id": metric.name, "metric_name": metric.name,
            "evaluation_description": f"share of scored answers in which the model {metric.what}",
            "lower_is_better": metric.worse > 0, "score_type": "continuous",
            "min_score": 0.0, "max_score": 1.0, "additional_details": {"judge": judge},
        },
        "score_details": {
            "score": rate.value,
            "details": {"unscored": str(labels[UNSCORED]), "scored": str(scored)},
            "uncertainty": {
                "confidence_interval": {
                    "lower": rate.low, "upper": rate.high, "confidence_level": 0.95,
                    "method": "wilson",
                },
                "num_samples": scored,
            },
        },
    }  # fmt: skip


def _samples(
    suite: str, kind: str, judge: str, rows: Sequence[Mapping[str, Any]], identity: str, model: str
) -> list[dict[str, Any]]:
    metric = metric_of_kind(kind)
    found = []
    for row in rows:
        label = row["labels"][judge]
        if label == UNSCORED:
            continue
        prompt = clean(row.get("prompt", ""))
        reference = [str(row["reference"])] if row.get("reference") else []
        hit = label in metric.hits
        found.append({
            "schema_version": VERSION, "evaluation_id": identity, "model_id": model,
            "evaluation_name": suite or "completions",
            "evaluation_result_id": _result_id(suite, metric.name, judge),
            "sample_id": f"{row['prompt_id']}#{row.get('sample', 0)}",
            "sample_hash": sha256_text(prompt + "".join(reference)),
            "interaction_type": "single_turn",
            "input": {"raw": prompt, "reference": reference},
            "output": {"raw": [clean(row["response"])]}, "messages": None,
            "answer_attribution": [{
                "turn_idx": 0, "source": "output.raw", "extracted_value": label,
                "extraction_method": f"judge {judge}", "is_terminal": True,
            }],
            "evaluation": {"score": float(hit), "is_correct": hit == (metric.worse < 0)},
        })  # fmt: skip
    return found


def _result_id(suite: str, metric: str, judge: str) -> str:
    return f"{suite}/{metric}/{judge}"
