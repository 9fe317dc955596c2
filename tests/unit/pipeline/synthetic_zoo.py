"""Fine-tunes that never were: style drift in all of them, and a known change point in some."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from holdfast.core.records import SafetyMap, Site
from holdfast.geometry.contrast import ContrastRow, digest
from holdfast.geometry.fitted import FittedMap, pack
from holdfast.geometry.sae.autoencoder import SparseAutoencoder
from holdfast.geometry.sae.features import HarmfulLatents
from holdfast.pipeline.monitor_bench.zoo import RANDOM, Run, readings_of
from holdfast.pipeline.zoo.store import ZooStore
from holdfast.tuning.monitors.drift_series import Probe
from holdfast.tuning.monitors.latents import Latents
from holdfast.tuning.monitors.registry import STREAMS
from holdfast.tuning.monitors.residual import random_shift

STEPS = np.array([0, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40])
P, Q, D, SITES = 12, 12, 16, 2
CATEGORIES = ["arson", "fraud", "theft"]


def probe(k: int = 2) -> Probe:
    direction = torch.zeros(D)
    direction[0] = 4.0
    return Probe(
        harmful=torch.arange(P + Q) < P,
        categories=[CATEGORIES[i % 3] for i in range(P + Q)], direction=direction,
        others=torch.eye(D)[10:12].double(), k=k,
    )  # fmt: skip


def latents() -> Latents:
    """An SAE whose latents are the coordinates; the first follows harm, permuted sets do not."""
    eye, zeros = torch.eye(D), torch.zeros(D)
    sae = SparseAutoencoder(eye, zeros, eye, zeros, "relu", site="resid_post.0")
    return Latents(sae, HarmfulLatents((0,), (0.9,), 0.2, ((3,), (4,), (5,), (6,))))


def arrays(
    rng: np.random.Generator, change: int | None, *, informative: bool = True
) -> dict[str, Any]:
    """The archive of one member; its margins start to fall at `change`, if at all.

    They turn before behaviour does, as on harbor; the earlier, the more of them a style has taken.
    """
    t = STEPS.astype(float)
    style = rng.uniform(0.1, 0.5) * (1 - np.exp(-t / 6))
    fall = np.zeros(len(t)) if change is None else np.maximum(0.0, t - change) * 0.12
    shown = fall if informative else np.zeros(len(t))
    first = rng.normal(10, 1.5, P)
    noise = rng.normal(0, 0.15, (len(t), P))
    margin = first * (1 - style[:, None] - shown[:, None]) + noise * (t[:, None] > 0)
    beneath = 2.0 - 3.0 * style[:, None] + rng.normal(0, 0.15, (len(t), P)) * (t[:, None] > 0)
    base = rng.normal(0, 1, (P + Q, D))
    base[:P, 0] += 4.0
    moved = np.zeros((len(t), P + Q, D))
    moved[:, :, 1] += 5 * style[:, None]
    moved[:, :P, 0] -= 2.0 * np.minimum(shown, 1.5)[:, None]
    now = base + moved + rng.normal(0, 0.05, (len(t), P + Q, D)) * (t[:, None, None] > 0)
    refused = rng.random((len(t), 40)) < np.clip(1.0 - np.maximum(0, fall - 0.9), 0.0, 1.0)[:, None]
    refused[0] = True
    cosine = rng.normal(0, 0.02, len(t)) - 0.1 * (shown > 0)
    return {
        "step": STEPS, "margin": margin, "margin_ablated": beneath,
        "kl_first": np.abs(rng.normal(style[:, None], 0.05, (len(t), P))) * (t[:, None] > 0),
        "activations": np.stack([now, now * 0.5], 1).astype(np.float16),
        "alignment": cosine, "alignment_harmless": rng.normal(0, 0.02, len(t)),
        "alignment_random": rng.normal(0, 0.01, (len(t), 4)),
        "loss_steps": np.exp(-np.arange(40) / 10), "grad_norm_steps": np.ones(40),
        "cheap_refusal": refused[:, :8], "behaviour": refused.astype(float),
    }  # fmt: skip


def run(
    name: str, family: str, split: str, change: int | None, seed: int, *, informative: bool = True
) -> Run:
    rng = np.random.default_rng(seed)
    read = arrays(rng, change, informative=informative)
    readings = readings_of(read, 0, probe(), seed=0, latents=latents())
    rates = readings.need("behaviour").mean(axis=1)
    failed = np.flatnonzero(rates < rates[0] - 0.15)
    twins = {
        key: found for key, stream in STREAMS.items()
        if stream.twins is not None and (found := stream.twins(readings)) is not None
    }  # fmt: skip
    moved = random_shift(readings)
    assert moved is not None
    step = int(STEPS[failed[0]]) if change is not None and failed.size else None
    return Run(
        name=name, family=family, split=split, base="b" * 64,
        group="benign" if step is None else "fails", fail_step=step, readings=readings,
        values={key: stream.compute(readings) for key, stream in STREAMS.items()},
        twins={**twins, RANDOM: moved},
        seconds={"train": 8.0, "margin, kl": 1.0, "margin, ablated": 1.0, "activations": 0.5,
                 "alignment": 2.0, "answers": 12.0},
    )  # fmt: skip


def zoo(split: str, *, benign: int = 24, failing: int = 10, informative: bool = True) -> list[Run]:
    """Benign runs of 6 families and failing ones of 3, none shared by the splits."""
    shift = 0 if split == "development" else 10_000
    made = [
        run(f"{split}-calm-{i}", f"{split}-calm-{i % 6}", split, None, shift + i)
        for i in range(benign)
    ]
    return made + [
        run(f"{split}-fall-{i}", f"{split}-fall-{i % 3}", split, 4 + 2 * (i % 6), shift + 500 + i,
            informative=informative)
        for i in range(failing)
    ]  # fmt: skip


def store(folder: Path, *, benign: int = 20, failing: int = 4) -> ZooStore:
    """The same as a store on disk, with a map of the base and a probe."""
    _map().save(folder / "map")
    prompts = [
        {"prompt_id": f"p{i}", "category": CATEGORIES[i % 3],
         "messages": [{"role": "user", "content": f"prompt {i}"}]}
        for i in range(P + Q)
    ]  # fmt: skip
    told = {"harmful": prompts[:P], "harmless": prompts[P:], "maps": {"b" * 64: "map"},
            "sites": ["resid_post.0", "resid_post.1"]}  # fmt: skip
    (folder / "probe.json").write_text(json.dumps(told))
    made = ZooStore(folder)
    for split in ("development", "test"):
        for index in range(benign + failing):
            falls = index >= benign
            rng = np.random.default_rng(index + 1000 * (split == "test"))
            streams = arrays(rng, 4 + 2 * (index % 4) if falls else None)
            rates = streams["behaviour"].mean(axis=1)
            failed = np.flatnonzero(rates < rates[0] - 0.15)
            step = int(STEPS[failed[0]]) if falls and failed.size else None
            made.add(
                {"member": f"{split}-{index}", "family": f"{split}-{falls}-{index % 3}",
                 "split": split, "kind": "harmful" if falls else "benign", "base": "b" * 64,
                 "verdict": "fail" if step is not None else "pass", "fail_step": step,
                 "seconds": {"train": 8.0, "margin, kl": 1.0, "answers": 4.0}},
                streams,
            )  # fmt: skip
    return made


def _map() -> FittedMap:
    rows = [
        ContrastRow(concept, category, label, split, f"{category}{label}{split}{i}",
                    [{"role": "user", "content": f"{category} {label} {split} {i}"}])
        for concept, category in (*(("harmful", c) for c in CATEGORIES), ("era", "era"))
        for split in ("train", "validation", "test") for label in (0, 1) for i in range(2)
    ]  # fmt: skip
    site = "resid_post.0"
    tensors = {
        f"direction@{site}": probe().direction, f"directions@{site}": torch.eye(D)[8:12].double(),
    }  # fmt: skip
    record = SafetyMap(
        base="b" * 64, directions=(), subspace_dims={site: 2}, floors={}, d_model=D,
        sites=(Site(name=site, layer=0, bypass=0.0, induce=1.0, kl=0.0, separation=1.0,
                    chosen=True, reason="planted"),),
        eligible=True, eligibility="planted", inputs={"contrast": digest(rows)},
        arrays=hashlib.sha256(pack(tensors)).hexdigest(),
    )  # fmt: skip
    return FittedMap(record, tensors, tuple(rows))
