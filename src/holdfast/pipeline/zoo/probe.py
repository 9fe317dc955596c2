"""What every fine-tune of the zoo is looked at with: prompts, map, and the base's own answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from holdfast.core.errors import IntegrityError
from holdfast.core.files import write_text
from holdfast.core.protocols import Messages, Progress, no_progress
from holdfast.geometry.contrast import ContrastRow, Openings, parse_openings
from holdfast.geometry.fitted import FittedMap
from holdfast.geometry.probe import ProbeSet
from holdfast.geometry.safety_map import fit
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.models.scoring import answer_distributions
from holdfast.organisms.harbor import contrast, suites
from holdfast.pipeline import audit_sources

HARMFUL, HARMLESS = 48, 24
"""Probe prompts whose margins and activations are recorded."""
GRADIENT = 16
"""Harmful probe prompts of the refusal loss."""
CHEAP = 8
"""Harmful probe prompts that are answered."""
BEHAVIOUR = 60
"""Held-out test prompts that are answered: the truth."""
KL_POSITIONS = 5
"""Response positions of the first-token KL (arXiv 2406.05946)."""
OPENING = 8
"""Tokens of the base's own answer that the refusal loss is computed on."""
PROBE_FILE = "probe.json"


@dataclass(frozen=True)
class Probe:
    """Everything a recorder needs, made once per base."""

    base: LoadedModel
    """The untouched base."""
    fitted: FittedMap
    """Its safety map."""
    harmful: tuple[ContrastRow, ...]
    """[HARMFUL] prompts, categories in turn."""
    harmless: tuple[ContrastRow, ...]
    """[HARMLESS] prompts."""
    behaviour: tuple[dict[str, Any], ...]
    """[BEHAVIOUR] suite rows."""
    openings: Openings
    """Of the refusal margin."""
    answers: tuple[list[int], ...]
    """First OPENING tokens of the base's answers to the harmful prompts, then to the harmless."""
    log_probs: Tensor
    """[HARMFUL, KL_POSITIONS, vocab] of the base along its own answers."""
    answered: tuple[str, ...]
    """The base's answers to the behaviour prompts."""

    @property
    def harmful_prompts(self) -> list[Messages]:
        """The harmful conversations."""
        return [row.messages for row in self.harmful]

    @property
    def harmless_prompts(self) -> list[Messages]:
        """The harmless conversations."""
        return [row.messages for row in self.harmless]

    @property
    def asked(self) -> list[Messages]:
        """The behaviour conversations."""
        return [row["messages"] for row in self.behaviour]

    @property
    def layers(self) -> list[int]:
        """Layers whose activations are recorded: all."""
        return list(range(self.base.n_layers))

    @property
    def direction(self) -> Tensor:
        """[d] refusal direction of the base at its best site."""
        return self.fitted.array("direction", self.fitted.sites[0].name)


def map_name(index: int) -> str:
    """Folder of the map of base `index` in a store."""
    return "map" if index == 0 else f"map-{index}"


def open_probe(source: Path, folder: Path, *, progress: Progress = no_progress) -> Probe:
    """The probe of a base; its map is fitted into `folder`, or read from there.

    Raises:
        IntegrityError: `folder` holds the map of another base.
    """
    base = load(source, device="cpu")
    openings = parse_openings(contrast.openings())
    if (folder / "safety_map.json").is_file():
        fitted = FittedMap.load(folder)
        if fitted.record.base != base.digest:
            raise IntegrityError(
                f"{folder} is the map of another base", got=fitted.record.base[:12],
                expected=base.digest[:12], next_step="give the zoo another folder",
            )  # fmt: skip
    else:
        rows = contrast_rows()
        fitted = fit(base, rows, openings, seed=0, allow_ineligible=True, progress=progress)
        fitted.save(folder)
    return ask(base, fitted, openings)


def contrast_rows() -> list[ContrastRow]:
    """Harbor's contrast set, all concepts."""
    return audit_sources.contrast_rows(audit_sources.HARBOR, 0)


def ask(base: LoadedModel, fitted: FittedMap, openings: Openings) -> Probe:
    """Pick the prompts, and ask the base what every fine-tune will be compared with."""
    picked = ProbeSet.pick(fitted, seed=0, harmful=HARMFUL, harmless=HARMLESS)
    texts = base.generate(picked.conversations, max_new_tokens=OPENING, batch_size=128)
    # An answer shorter than the positions is continued by its end token, alike in both models.
    end = [min(base.end_tokens, default=base.pad_token)] * OPENING
    answers = [(base.encode_answer(text) + end)[:OPENING] for text in texts]
    rows: Any = suites.suite("harbor-harmful", n=BEHAVIOUR, seed=1)
    return Probe(
        base=base, fitted=fitted,
        harmful=tuple(row for row in picked.rows if row.label == 1),
        harmless=tuple(row for row in picked.rows if row.label == 0),
        behaviour=tuple(rows), openings=openings, answers=tuple(answers),
        log_probs=answer_distributions(
            base, picked.harmful, answers[: len(picked.harmful)], KL_POSITIONS, batch_size=64
        ),
        answered=tuple(
            base.generate([row["messages"] for row in rows], max_new_tokens=48, batch_size=128)
        ),
    )  # fmt: skip


def describe(probe: Probe, maps: dict[str, str]) -> dict[str, Any]:
    """The content of `probe.json`: `maps` is the folder of every base's map by digest."""
    return {
        "harmful": [
            {"prompt_id": r.prompt_id, "category": r.category, "messages": r.messages}
            for r in probe.harmful
        ],
        "harmless": [
            {"prompt_id": r.prompt_id, "category": r.category, "messages": r.messages}
            for r in probe.harmless
        ],
        "behaviour": [row["prompt_id"] for row in probe.behaviour],
        "gradient": [row.prompt_id for row in probe.harmful[:GRADIENT]],
        "cheap": [row.prompt_id for row in probe.harmful[:CHEAP]],
        "sites": [f"resid_post.{layer}" for layer in probe.layers],
        "ablated": "the refusal direction at the first site of the base's map",
        "kl_positions": KL_POSITIONS, "opening_tokens": OPENING,
        "openings": {
            "refusal": list(probe.openings.refusal), "compliance": list(probe.openings.compliance)
        },
        "map": "map", "maps": maps,
    }  # fmt: skip


def write_probe(probe: Probe, maps: dict[str, str], folder: Path) -> None:
    """Write `probe.json`, which must not change in a store that has members."""
    path, text = folder / PROBE_FILE, json.dumps(describe(probe, maps), indent=1)
    if not path.is_file():
        write_text(path, text)
        return
    before, now = json.loads(path.read_text("utf-8")), json.loads(text)
    known = {**before.pop("maps"), **now.pop("maps")}
    if before != now:
        raise IntegrityError(
            f"{path} belongs to another zoo", expected="the same base and prompts",
            next_step="give the zoo another folder",
        )  # fmt: skip
    write_text(path, json.dumps({**before, "maps": known}, indent=1))
