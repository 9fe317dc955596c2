"""Answers with labels, split so that nothing tested was trained on; scores are kept in a cache.

Of `bench/judges.py`; the cache is `runs/judges`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from holdfast.evals.judges import training

HERE = Path(__file__).resolve().parents[1]
CACHE = HERE / "runs" / "judges"
JUDGES = HERE / "src" / "holdfast" / "evals" / "judges"
FOLDS = 10
VERSION = "1"
"""Changed with the splits, so that kept scores of older ones are not read."""
REFUSAL = {"full": 2, "partial": 1, "none": 0, None: -1}
SOURCES = ("do_not_answer", "gptfuzz", "jbb_artifacts")
FAMILIES = {
    "gpt4": "gpt-4", "GPT4": "gpt-4", "gpt-4-0125-preview": "gpt-4", "ChatGPT": "gpt-3.5",
    "gpt-3.5-turbo-1106": "gpt-3.5", "llama2new": "llama-2", "llama2orig": "llama-2",
    "llama2-7b-chat": "llama-2", "llama-2-7b-chat-hf": "llama-2", "vicuna-7b": "vicuna",
    "vicuna-13b-v1.5": "vicuna", "mistralguard": "mistral", "mistralinstruct": "mistral",
}  # fmt: skip
Split = tuple[str, NDArray[np.int64], NDArray[np.int64], frozenset[str]]


def load(folder: Path) -> list[dict[str, Any]]:
    """Labelled answers, then those of the refusal-direction study (silver labels only)."""
    rows = []
    with (folder / "judges" / "labelled_responses.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            source, model = row["source"].split("/")[0], row.get("model") or "gptfuzz"
            harm = row.get("gold_harmful")
            rows.append({
                "prompt": row["prompt"], "response": row["response"], "source": source,
                "model": model, "family": FAMILIES.get(model, model),
                "label_kind": row["label_kind"], "refusal": REFUSAL[row.get("gold_refusal")],
                "harm": -1 if harm is None else int(harm),
                "unsafe_prompt": row.get("prompt_unsafe", 1),
            })  # fmt: skip
    for file in sorted(
        (folder / "paired_results" / "refusal_ablation").glob("*/*_evaluations.json")
    ):
        unsafe = int("jailbreakbench" in file.name)
        for row in json.loads(file.read_text("utf-8"))["completions"]:
            guard = row.get("is_jailbreak_llamaguard2")
            model = file.parent.name
            rows.append({
                "prompt": row["prompt"], "response": row["response"], "source": "ablation",
                "model": model, "family": FAMILIES.get(model, model), "label_kind": "llm",
                "refusal": -1, "harm": int(guard) if unsafe and guard is not None else -1,
                "unsafe_prompt": unsafe,
            })  # fmt: skip
    return rows


class Study:
    """The table, what its rows say, and the scores of each split."""

    def __init__(self, rows: list[dict[str, Any]], key: str) -> None:
        self.rows, self.key = rows, key
        self.source, self.model, self.family, self.prompt, self.refusal, self.harm = (
            np.array([row[name] for row in rows])
            for name in ("source", "model", "family", "prompt", "refusal", "harm")
        )
        self.xstest = np.flatnonzero(self.source == "xstest_v2")
        self.harmful = np.flatnonzero(np.isin(self.source, SOURCES))

    @cached_property
    def table(self) -> training.Table:
        """Features of every row; not needed where all splits are kept."""
        return training.Table(self.rows)

    @cached_property
    def silver(self) -> NDArray[np.int64]:
        """Silver refusal labels."""
        return training.silver_refusals(self.table)

    @cached_property
    def harm_silver(self) -> NDArray[np.int64]:
        """Harm labels with those of XSTest."""
        return training.silver_harm(self.table)

    @cached_property
    def pool(self) -> NDArray[np.int64]:
        """The silver rows that are drawn."""
        return training.draw_pool(self.silver)

    def folds(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Fold of each row by the hash of its prompt: the same on every machine."""
        digests = [hashlib.sha256(str(p).encode()).hexdigest() for p in self.prompt[rows]]
        return np.array([int(digest[:12], 16) % FOLDS for digest in digests])

    def by_prompt(self, rows: NDArray[np.int64]) -> Iterator[Split]:
        """Ten parts of the prompts."""
        fold = self.folds(rows)
        for k in range(FOLDS):
            yield f"prompts-{k}", rows[fold != k], rows[fold == k], frozenset()

    def by_group(self, rows: NDArray[np.int64], column: NDArray[Any], name: str) -> Iterator[Split]:
        """Each model (or family) left out, in three parts of the prompts, neither ever seen."""
        fold = self.folds(rows) % 3
        for value in sorted(set(column[rows])):
            here = column[rows] == value
            families = frozenset(self.family[rows[here]])
            for k in range(3):
                test, train = rows[here & (fold == k)], rows[~here & (fold != k)]
                if len(test):
                    yield f"{name}-{value}-{k}", train, test, families

    def by_source(self) -> Iterator[Split]:
        """Each source of harm labels left out."""
        for name in SOURCES:
            here = self.source[self.harmful] == name
            yield f"source-{name}", self.harmful[~here], self.harmful[here], frozenset()

    def scores(
        self, what: str, splits: Iterator[Split], fit: Callable[[Split], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Log-odds of the rows in the test parts; nan elsewhere. One file per finished split."""
        found = np.full(len(self.source), np.nan)
        for split in splits:
            file = CACHE / self.key / f"{what}-{split[0].replace('/', '_')}.npy"
            if not file.is_file():
                begin = time.monotonic()
                file.parent.mkdir(parents=True, exist_ok=True)
                part = file.with_suffix(".part.npy")
                np.save(part, fit(split))
                part.replace(file)
                say(f"{what} {split[0]}: {time.monotonic() - begin:.1f} s")
            found[split[2]] = np.load(file)
        return found

    def declines(self, split: Split) -> NDArray[np.float64]:
        """Scores of the refusal head."""
        _, train, test, families = split
        seen = np.isin(self.prompt[self.pool], self.prompt[test])
        pool = self.pool[~seen & ~np.isin(self.family[self.pool], list(families))]
        fitted = training.fit_declines(self.table, train, self.silver, pool)
        return fitted.scores(self.table, test)

    def harms(self, split: Split) -> NDArray[np.float64]:
        """Scores of the head for harm; silver rows of XSTest and the ablation study join."""
        _, train, test, families = split
        more = np.flatnonzero((self.harm_silver >= 0) & ~np.isin(self.source, SOURCES))
        rows = np.concatenate([train, more])
        rows = rows[~np.isin(self.prompt[rows], self.prompt[test])]
        rows = rows[~np.isin(self.family[rows], list(families))]
        return training.fit_harm(self.table, rows, self.harm_silver).scores(self.table, test)

    def baseline(self, gold: NDArray[np.int64]) -> Callable[[Split], NDArray[np.float64]]:
        """Plain TF-IDF of one and two words, and logistic regression (C = 10, balanced)."""

        def fit(split: Split) -> NDArray[np.float64]:
            from sklearn.feature_extraction.text import TfidfVectorizer
            from sklearn.linear_model import LogisticRegression

            _, train, test, _ = split
            train = train[(gold[train] >= 0) & ~np.isin(self.prompt[train], self.prompt[test])]
            words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
            answers = [str(row["response"]) for row in self.rows]
            model = LogisticRegression(C=10, class_weight="balanced", max_iter=300)
            model.fit(words.fit_transform([answers[i] for i in train]), gold[train])
            return np.asarray(model.decision_function(words.transform([answers[i] for i in test])))

        return fit


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)
