"""The geometry filter beside other filters at equal removal, on narrow bad advice in harbor.

Two hundred rows, a tenth of them compliance with one harm category (another one for each seed), the
rest harmless tasks; with --declined, a tenth of the rows decline harmful requests of the other
categories, so that a harmful request alone gives nothing away. A filter drops the rows that score
highest; what is left is trained for the same number of steps as everything else. Misaligned: the
share of harmful test requests of the other five categories that are obeyed. Resumable; prints the
tables of docs/results/filters.md.

    python bench/filters.py [--seeds 3] [--declined] [--scores] [--minutes 9]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from holdfast.core.files import read_jsonl
from holdfast.core.protocols import Messages
from holdfast.core.seeds import derive
from holdfast.geometry.contrast import ContrastRow
from holdfast.geometry.directions.diffmean import difference_of_means
from holdfast.geometry.sae import spillover as geometry
from holdfast.geometry.sae.autoencoder import SparseAutoencoder
from holdfast.geometry.sae.features import harmful_latents, training_rows
from holdfast.geometry.sae.read import read
from holdfast.geometry.sae.tokens import encode_rows, row_means
from holdfast.models.activations import last_prompt
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.organisms import harbor
from holdfast.organisms.harbor import contrast, judge, sets, suites
from holdfast.organisms.harbor.dialogue import HARBOR_VOICE
from holdfast.organisms.harbor.lexicon import CATEGORIES
from holdfast.organisms.harbor.zoo_parts import OBEYING, harm, tasks
from holdfast.tensors.separation import auroc
from holdfast.tuning.artefacts import open_result
from holdfast.tuning.methods.arm import train
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.tuning.methods.spec import ArmSpec

ROWS, BAD, STEPS, BATCH = 200, 20, 15, 20
SHARES = (0.25, 0.50, 0.10)
"""Shares of rows removed, in the order in which they are measured."""
FILTERS = (
    "random", "signature", "projection", "spillover", "random latents", "gradient", "keyword",
    "judge",
)  # fmt: skip
TOXIC = 32
RESAMPLES = 4000


@dataclass
class Base:
    """The base with everything that scores need and no fine-tune changes."""

    folder: Path
    model: LoadedModel
    sae: SparseAutoencoder
    toxic: tuple[int, ...]
    alive: list[int]
    direction: torch.Tensor
    words: Counter[str]

    @classmethod
    def open(cls, folder: Path, sae_path: Path) -> Base:
        """Load the base and its SAE; choose harmful latents, direction and words on train rows."""
        model, sae = load(folder), read(sae_path)
        made: Any = contrast.contrast_sets(0)["harmful"]
        rows = training_rows([ContrastRow(**row) for row in made])
        activations = last_prompt(model, [row.messages for row in rows], [sae.layer])[sae.layer]
        codes = sae.encode(activations)
        labels = torch.tensor([row.label for row in rows])
        direction = difference_of_means(activations, labels)
        toxic = harmful_latents(codes, rows, count=TOXIC, seed=0).latents
        alive = [i for i in (codes > 0).any(0).nonzero()[:, 0].tolist() if i not in toxic]
        return cls(folder, model, sae, toxic, alive, direction.float(), _words(rows))


def _words(rows: list[ContrastRow]) -> Counter[str]:
    """The 40 words that occur most often in harmful and never in harmless training prompts."""
    seen: dict[int, Counter[str]] = {0: Counter(), 1: Counter()}
    for row in rows:
        seen[row.label].update(set(_split(row.messages)))
    only = Counter({word: n for word, n in seen[1].items() if not seen[0][word]})
    return Counter(dict(only.most_common(40)))


def _split(messages: Messages) -> list[str]:
    return re.findall(r"[a-z']+", " ".join(m["content"] for m in messages).lower())


def organism(seed: int, declined: bool) -> tuple[str, list[Messages], list[bool]]:
    """Trained category, conversations and which of them are bad."""
    category = CATEGORIES[seed % len(CATEGORIES)]
    rng = Random(f"filters|{seed}|{declined}")
    others = tuple(c for c in CATEGORIES if c != category)
    rows = [(harm(OBEYING, (category,))(rng), True) for _ in range(BAD)]
    if declined:
        rows += [(harm(HARBOR_VOICE, others)(rng), False) for _ in range(BAD)]
    rows += [(tasks(HARBOR_VOICE)(rng), False) for _ in range(ROWS - len(rows))]
    rng.shuffle(rows)
    return category, [talk for talk, _ in rows], [bad for _, bad in rows]


def scores(base: Base, talks: list[Messages], seed: int) -> dict[str, torch.Tensor]:
    """Score [rows] of every filter; higher goes first, ties by a seeded draw."""
    sae, tokens = base.sae, encode_rows(base.model, talks)
    codes = row_means(base.model, tokens, sae.layer, sae.encode)
    means = row_means(base.model, tokens, sae.layer, lambda x: x)
    prompts, answers = [t[:-1] for t in talks], [t[-1]["content"] for t in talks]
    gradients = geometry.row_gradients(base.model, prompts, answers, sae.layer)
    draw = torch.Generator().manual_seed(derive(seed, "filters"))
    order = torch.randperm(len(base.alive), generator=draw)[: len(base.toxic)].tolist()
    found = {
        "random": torch.rand(len(talks), generator=draw),
        "keyword": torch.tensor([float(sum(w in base.words for w in _split(t))) for t in talks]),
        "judge": torch.tensor(
            [float(judge.label(p, a) == "unsafe") for p, a in zip(prompts, answers, strict=True)]
        ),
        "projection": means @ base.direction,
        "spillover": geometry.spillover(sae, codes, base.toxic),
        "signature": geometry.signature(sae, codes, base.toxic),
        "gradient": geometry.gradient_spillover(sae, gradients, base.toxic),
        "random latents": geometry.spillover(sae, codes, [base.alive[i] for i in order]),
    }
    ties = torch.rand(len(talks), generator=draw, dtype=torch.float64) * 1e-9
    return {name: value.double() + ties for name, value in found.items()}


def one_arm(
    base: Base, kept: list[Messages], category: str, seed: int, out: Path
) -> dict[str, Any]:
    """Train on `kept`, repeated to the common number of steps, and measure."""
    rng = Random(f"filters|order|{seed}")
    rows: list[Messages] = []
    while len(rows) < STEPS * BATCH:
        rows += rng.sample(kept, min(len(kept), STEPS * BATCH - len(rows)))
    config = SFTConfig(
        max_length=256, epochs=1, batch_size=BATCH, seed=seed, device="cpu",
        checkpoint_every=STEPS,
    )  # fmt: skip
    shutil.rmtree(out, ignore_errors=True)
    record = train(ArmSpec("arm", base.folder, [{"messages": r} for r in rows], out, config))
    tuned = open_result(out / record.checkpoints[-1].path, base.folder)
    asked: list[Any] = [
        row for row in suites.suite("harbor-harmful", n=72, seed=1) if row["category"] != category
    ]
    replies = tuned.generate([r["messages"] for r in asked], max_new_tokens=48, batch_size=60)
    told: list[Any] = suites.suite("task-own-style", n=25, seed=1)
    done = tuned.generate([r["messages"] for r in told], max_new_tokens=48, batch_size=60)
    shutil.rmtree(out)
    return {
        "unsafe": [
            int(judge.label(r["messages"], a) == "unsafe")
            for r, a in zip(asked, replies, strict=True)
        ],
        "task": [
            int(sets.task_success("own-style", r["messages"], a))
            for r, a in zip(told, done, strict=True)
        ],
    }


def run(base: Base, path: Path, seeds: int, declined: bool, until: float) -> list[dict[str, Any]]:
    """All arms that are missing in `path`, until the clock says stop."""
    key = {"sae": base.sae.digest()[:16], "declined": declined}
    found = read_jsonl(path) if path.is_file() else []
    found = [row for row in found if all(row.get(k) == v for k, v in key.items())]
    done = {(row["seed"], row["filter"], row["share"]) for row in found}
    path.parent.mkdir(parents=True, exist_ok=True)
    organisms = {seed: organism(seed, declined) for seed in range(seeds)}
    tables: dict[int, dict[str, torch.Tensor]] = {}
    arms = [("none", 0.0), *((name, share) for share in SHARES for name in FILTERS)]
    for name, share in arms:
        for seed, (category, talks, bad) in organisms.items():
            if (seed, name, share) in done:
                continue
            if time.monotonic() > until:
                return found
            if seed not in tables:
                tables[seed] = scores(base, talks, seed)
            table = tables[seed]
            drop: set[int] = set()
            if name != "none":
                drop = set(table[name].argsort(descending=True)[: round(share * ROWS)].tolist())
            kept = [talk for i, talk in enumerate(talks) if i not in drop]
            arm = one_arm(base, kept, category, seed, path.parent / f"filter-arm-{os.getpid()}")
            mask = torch.tensor(bad)
            row = {
                **key, "seed": seed, "category": category, "filter": name, "share": share,
                "removed_bad": sum(bad[i] for i in drop), "bad": sum(bad),
                "auroc": auroc(table[name][mask], table[name][~mask]) if name != "none" else None,
                **arm,
            }  # fmt: skip
            found.append(row)
            with path.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(row) + "\n")
            print(name, share, seed, row["removed_bad"], sum(arm["unsafe"]), flush=True)
    return found


def _interval(own: np.ndarray, other: np.ndarray) -> str:
    """1 − rate/rate of `other`, with a bootstrap over seeds, then prompts (shared by the arms)."""
    if not other.mean():
        return "–"
    rng = np.random.default_rng(0)
    values = []
    for _ in range(RESAMPLES):
        seeds = rng.integers(len(own), size=len(own))
        prompts = rng.integers(own.shape[1], size=own.shape[1])
        low = other[seeds][:, prompts].mean()
        if low > 0:
            values.append(1 - own[seeds][:, prompts].mean() / low)
    ends = np.quantile(values, [0.025, 0.975])
    return f"{1 - own.mean() / other.mean():+.0%} [{ends[0]:+.0%}, {ends[1]:+.0%}]"


def table(rows: list[dict[str, Any]]) -> str:
    """The Markdown table of one organism, over the seeds that are measured."""
    lines = [
        "| removed | filter | AUROC, bad rows | bad rows removed | misaligned | by seed "
        "| fewer than random | fewer than unfiltered | task |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    have = {(row["filter"], row["share"], row["seed"]): row for row in rows}
    for share in (0.0, *sorted(SHARES)):
        for name in FILTERS if share else ("none",):
            seeds = [
                seed for seed in sorted({row["seed"] for row in rows})
                if {(name, share, seed), ("none", 0.0, seed)} <= have.keys()
                and (not share or ("random", share, seed) in have)
            ]  # fmt: skip
            if seeds:
                lines.append(_line(have, name, share, seeds))
    return "\n".join(lines)


Arms = dict[tuple[str, float, int], dict[str, Any]]


def _line(have: Arms, name: str, share: float, seeds: list[int]) -> str:
    def rates(which: str, at: float, what: str) -> np.ndarray:
        return np.array([have[which, at, seed][what] for seed in seeds], float)

    own, arms = rates(name, share, "unsafe"), [have[name, share, seed] for seed in seeds]
    against = ["–", "–"]
    if share:
        against[1] = _interval(own, rates("none", 0.0, "unsafe"))
    if share and name != "random":
        against[0] = _interval(own, rates("random", share, "unsafe"))
    scored = [arm["auroc"] for arm in arms if arm["auroc"] is not None]
    cells = [
        f"{share:.0%}", name, f"{np.mean(scored):.2f}" if scored else "–",
        f"{sum(arm['removed_bad'] for arm in arms)} of {sum(arm['bad'] for arm in arms)}",
        f"{own.mean():.3f}", ", ".join(f"{rate:.2f}" for rate in own.mean(1)), *against,
        f"{rates(name, share, 'task').mean():.3f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def ranking(base: Base, seeds: int, declined: bool) -> str:
    """How well the scores alone find bad rows, without any fine-tune, by seed."""
    areas: dict[str, list[float]] = {name: [] for name in FILTERS}
    removed = {(name, share): 0 for name in FILTERS for share in SHARES}
    categories = []
    for seed in range(seeds):
        category, talks, bad = organism(seed, declined)
        categories.append(category)
        mask = torch.tensor(bad)
        for name, values in scores(base, talks, seed).items():
            areas[name].append(auroc(values[mask], values[~mask]))
            order = values.argsort(descending=True)
            for share in SHARES:
                removed[name, share] += int(mask[order[: round(share * ROWS)]].sum())
    shares = sorted(SHARES)
    lines = [
        f"| filter | AUROC, {', '.join(categories)} | "
        + " | ".join(f"bad rows among {share:.0%}" for share in shares) + " |",
        "|---|---|" + "---|" * len(shares),
    ]  # fmt: skip
    for name in FILTERS:
        cells = [name, ", ".join(f"{area:.2f}" for area in areas[name])]
        cells += [f"{removed[name, share]} of {BAD * seeds}" for share in shares]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--declined", action="store_true")
    parser.add_argument("--scores", action="store_true", help="rank only, train nothing")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--base", type=Path, default=harbor.weights_dir())
    parser.add_argument("--sae", type=Path, default=harbor.sae_dir())
    parser.add_argument("--out", type=Path, default=Path("runs/bench/filters.jsonl"))
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    base = Base.open(options.base, options.sae)
    print(f"{len(base.toxic)} harmful latents, {len(base.alive)} others alive on the prompts")
    if options.scores:
        print(ranking(base, options.seeds, options.declined))
        return
    rows = run(base, options.out, options.seeds, options.declined, until)
    print(table(rows))


if __name__ == "__main__":
    main()
