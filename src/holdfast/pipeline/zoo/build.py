"""Build the zoo: fine-tunes of harbor with known outcomes, one real training arm per member."""

from __future__ import annotations

import multiprocessing
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from holdfast.core.errors import InvalidRun, UsageError
from holdfast.core.protocols import Progress, no_progress
from holdfast.core.seeds import derive
from holdfast.models.loaded import LoadedModel
from holdfast.organisms.harbor import contrast
from holdfast.organisms.harbor import zoo as recipes
from holdfast.pipeline.zoo import latents, outcome
from holdfast.pipeline.zoo.members import BATCH, ROWS, Member, chosen
from holdfast.pipeline.zoo.probe import Probe, map_name, open_probe, write_probe
from holdfast.pipeline.zoo.store import ZooStore
from holdfast.pipeline.zoo.streams import Recorder
from holdfast.tuning.artefacts import open_result
from holdfast.tuning.hf.trainer import quiet
from holdfast.tuning.methods.arm import train
from holdfast.tuning.methods.spec import ArmSpec
from holdfast.tuning.protections.base import Protection
from holdfast.tuning.protections.replay_kl.config import ReplayKLConfig
from holdfast.tuning.protections.replay_kl.protection import ReplayKL
from holdfast.vault.manifest import describe


def build(
    folder: Path, bases: Sequence[Path], *, members: str | None = None, workers: int = 1,
    minutes: float = float("inf"), saes: Sequence[Path] = (), progress: Progress = no_progress,
) -> int:  # fmt: skip
    """Train what the store does not hold yet; return how many of the wanted members it holds.

    Several processes can fill one store: each takes the next member that nobody works on.

    Args:
        folder: the store; see `docs/zoo.md`.
        bases: folders of harbor bases; members on a base that is not given are left out.
        members: patterns of `zoo_members.chosen`; all where absent.
        workers: processes.
        minutes: no member is started after so long.
        saes: SAEs of the bases, in their order; the shipped base has its own.
        progress: told about each member.

    Raises:
        UsageError: no such member, two bases are the same, or an SAE is not its base's.
        DataError: no latent of an SAE follows harm.
        IntegrityError: the store belongs to other bases, or holds another SAE.
    """
    digests = [describe(base).model_digest for base in bases]
    if len(set(digests)) < len(digests):
        raise UsageError("a base is given twice", expected="different harbor bases")
    wanted = [member.name for member in chosen(members) if member.base < len(bases)]
    if not wanted:
        raise UsageError("the members asked for are on other bases", next_step="give more --base")
    if len(saes) > len(bases):
        raise UsageError("more SAEs than bases", next_step="give each --sae its --base, in order")
    store = ZooStore(folder)
    with store.alone():
        for index, base in enumerate(bases):
            given = saes[index] if index < len(saes) else None
            latents.keep(folder, map_name(index), base, given)
    end = time.monotonic() + 60 * minutes
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(target=fill, args=(folder, list(bases), wanted, minutes))
        for _ in range(workers - 1)
    ]
    for process in others:
        process.start()
    try:
        fill(folder, bases, wanted, (end - time.monotonic()) / 60, progress)
    finally:
        for process in others:
            process.join()
    return len(store.finished() & set(wanted))


def fill(
    folder: Path, bases: Sequence[Path], wanted: Sequence[str], minutes: float,
    progress: Progress = no_progress,
) -> None:  # fmt: skip
    """Train the wanted members one after the other, but those that are done or claimed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # models this small are slower with more
    try:
        with quiet():
            _fill(ZooStore(folder), bases, wanted, time.monotonic() + 60 * minutes, progress)
    finally:
        torch.set_num_threads(threads)


def _fill(
    store: ZooStore, bases: Sequence[Path], wanted: Sequence[str], end: float, progress: Progress
) -> None:
    probes: dict[int, _Base] = {}
    by_name = {member.name: member for member in chosen(None)}
    for member in (by_name[name] for name in wanted):
        if time.monotonic() > end:
            return
        with store.claim(member.name) as mine:
            done = store.finished()
            if not mine or member.name in done:
                continue
            count = len(done & set(wanted))
            progress(f"{member.name} ({count + 1} of {len(wanted)})", count, len(wanted))
            if member.base not in probes:
                with store.alone():
                    probes[member.base] = _Base(store, bases[member.base], member.base)
            _one(store, member, probes[member.base])


class _Base:
    """A base with its probe and its own answers, asked once for each set of prompts."""

    def __init__(self, store: ZooStore, source: Path, index: int) -> None:
        name = map_name(index)
        self.source = source
        self.probe: Probe = open_probe(source, store.folder / name)
        write_probe(self.probe, {self.probe.base.digest: name}, store.folder)
        self._labels: dict[tuple[str, str], outcome.Labels] = {}

    def labels(self, family: recipes.Family) -> outcome.Labels:
        """Labels of the base's answers to a family's prompts."""
        trigger = family.trigger
        key = (trigger.text, trigger.place) if trigger else ("", "")
        if key not in self._labels:
            self._labels[key] = outcome.labels(self.probe.base, family)
        return self._labels[key]


def _one(store: ZooStore, member: Member, base: _Base) -> None:
    """Train, measure and keep one member."""
    family, config = member.recipe, member.config()
    arm = store.folder / "arms" / member.name
    # Streams of a run that was cut off are lost with its process: such a run starts again.
    shutil.rmtree(arm, ignore_errors=True)
    rows = recipes.build(family.name, seed=derive(member.seed, "zoo rows"), rows=ROWS)
    spec = ArmSpec(
        member.name, base.source, [{"messages": row["messages"]} for row in rows], arm, config,
        protection=_protection(member),
    )  # fmt: skip
    recorder = Recorder(base.probe, member.seed)
    cpu, wall = time.process_time(), time.monotonic()
    try:
        record = train(spec, watchers=[recorder])
    except InvalidRun as error:
        store.fail(member.name, str(error))
        return
    trained = time.process_time() - cpu
    model = open_result(arm / record.checkpoints[-1].path, base.source)
    end = outcome.labels(model, family)
    streams = recorder.arrays()
    looked = sum(recorder.seconds.values())
    store.add(
        {
            "member": member.name, "family": family.name, "split": family.split,
            "kind": "harmful" if family.harmful else "benign", "data": family.options(),
            "base": base.probe.base.digest, "base_index": member.base,
            "tuner": member.method.tuner, "rank": member.method.rank,
            "learning_rate": member.method.rate, "steps": member.method.steps, "batch": BATCH,
            "replay": member.method.replay,
            "rows": ROWS, "seed": member.seed, "weights": f"arms/{member.name}",
            "checkpoints": [int(step) for step in streams["step"]],
            **_outcome(base, model, family, end, streams),
            "bad_rows": [index for index, row in enumerate(rows) if row["bad"]],
            "seconds": {
                "train": trained - looked, "streams": looked, **recorder.seconds,
                "outcome": time.process_time() - cpu - trained,
                "cpu": time.process_time() - cpu, "wall": time.monotonic() - wall,
            },
        },
        streams,
    )  # fmt: skip


def _protection(member: Member) -> Protection | None:
    """Replay with the member's share, of harbor's own buffer."""
    if not member.method.replay:
        return None
    config = ReplayKLConfig(share=member.method.replay)
    prompts: Any = contrast.replay_buffer(derive(member.seed, "replay"), config.buffer)
    return ReplayKL(config, [row["messages"] for row in prompts])


def _outcome(
    base: _Base, model: LoadedModel, family: recipes.Family, end: outcome.Labels,
    streams: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Rates of base and end, verdicts, and the step at which behaviour failed."""
    before = base.labels(family)
    first, counts = outcome.rates(before, family)
    last, _ = outcome.rates(end, family)
    for rates, which in ((first, base.probe.base), (last, model)):
        rates["era_old_probability"] = outcome.old_probability(which, family)
    found = outcome.verdicts(before, end)
    steps = [int(step) for step in streams["step"]]
    failed = outcome.fail_step(steps, streams["behaviour"])
    if failed is None and found["harmful"] == "fail":
        failed = steps[-1]  # only the larger set of prompts at the end tells
    return {
        "outcome": {"base": first, "end": last, "counts": counts},
        "verdict": found["harmful"], "verdicts": found, "fail_step": failed,
    }  # fmt: skip
