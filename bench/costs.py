"""What Holdfast costs, side by side in one run, on the embedded model.

    python bench/costs.py [--steps 400] [--rounds 3] [--only training] [--give-back]
        [--arms 'with monitor' ...]

Prints three ratios: training step time with the monitor and with the protection over plain TRL;
throughput of our generation over `transformers.generate` called by hand at the same batch size; the
safety map over the bare forward passes that it needs. CPU seconds; the median of the rounds.

The training arms run side by side: a process each, of which one at a time makes one step, so that
whatever the machine does meanwhile happens to all of them. A step is what the trainer's loop takes:
what is prepared once before it is not a step's. Beside the ratio stands what monitor and protection
took within their own run, preparation included, and among the arms stands plain TRL a second time:
what differs there is noise. Freed memory is kept (`kept_memory`), or given back by `--give-back`
as glibc does by default: which steps fetch it again is luck and can cost more than a protection.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from holdfast.geometry.contrast import Openings, load_contrast, parse_openings
from holdfast.geometry.fitted import FittedMap
from holdfast.geometry.probe import ProbeSet
from holdfast.geometry.safety_map import fit
from holdfast.models.activations import last_prompt
from holdfast.models.hooks import quiet_eval
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.organisms import harbor
from holdfast.organisms.harbor import contrast, sets, suites
from holdfast.tuning.methods.arm import train
from holdfast.tuning.methods.sft.config import SFTConfig
from holdfast.tuning.methods.spec import ArmSpec
from holdfast.tuning.monitor import Monitor
from holdfast.tuning.protections.base import Materials, Protection
from holdfast.tuning.protections.controller.config import ControllerConfig
from holdfast.tuning.protections.controller.protection import Controller
from holdfast.tuning.protections.replay_kl.config import ReplayKLConfig
from holdfast.tuning.protections.replay_kl.protection import ReplayKL
from holdfast.tuning.protections.subspace_guard.config import SubspaceGuardConfig
from holdfast.tuning.protections.subspace_guard.protection import SubspaceGuard

BATCH = 32
EPOCH = 200
"""Steps an epoch: every epoch's end is observed and saved, whatever the schedule."""


ARMS = {
    "plain TRL": (False, ""), "plain TRL, again": (False, ""), "with monitor": (True, ""),
    "with the subspace guard": (False, "guard"), "with replay_kl": (False, "replay_kl"),
    "with auto, the default, and monitor": (True, "auto"),
}  # fmt: skip
"""Training arms: monitored or not, and the protection."""


def kept_memory() -> None:
    """Let glibc keep what is freed; elsewhere nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_max = -1, -4
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)


def spent(work: Callable[[], Any]) -> float:
    """CPU seconds of `work`."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def contrast_rows() -> list[Any]:
    """Harbor's contrast set, as the map reads it."""
    from holdfast.core.files import write_jsonl

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "contrast.jsonl"
        write_jsonl(path, (dict(r) for rows in contrast.contrast_sets(0).values() for r in rows))
        return load_contrast(path)


def take_turns(arm: Callable[[], float], mine: Any, following: Any, result: Any) -> None:
    """Run `arm` in this process, a step a turn; send its loop's CPU seconds and what it returns."""
    from transformers import Trainer
    from transformers.trainer_callback import CallbackHandler

    loop, step_end = Trainer.train, CallbackHandler.on_step_end
    seconds = 0.0

    def timed(trainer: Any, *args: Any, **more: Any) -> Any:
        nonlocal seconds
        begin = time.process_time()
        done = loop(trainer, *args, **more)
        seconds = time.process_time() - begin
        return done

    def ended(handler: Any, *args: Any, **more: Any) -> Any:
        control = step_end(handler, *args, **more)
        following.release()
        mine.acquire()
        return control

    Trainer.train, CallbackHandler.on_step_end = timed, ended
    # The monitor's schedule rations wall time, which here would count the others' turns as its own.
    time.perf_counter = time.process_time
    mine.acquire()
    share = arm()
    result.send((seconds, share))
    following.release()


def training(
    steps: int, rounds: int, fitted: FittedMap, openings: Openings, wanted: list[str]
) -> None:
    """Step time plain, with the monitor, with the protection, step by step beside each other."""
    made = sets.build("identity-shift", seed=0, rows=EPOCH * 20)
    rows = [{"messages": r["messages"]} for r in made]
    config = SFTConfig(epochs=-(-steps // EPOCH), max_length=256)
    buffer: list[Any] = [row["messages"] for row in contrast.replay_buffer(0, 64)]

    guards: dict[str, Callable[[], Protection | None]] = {
        "": lambda: None,
        "replay_kl": lambda: ReplayKL(ReplayKLConfig(), buffer),
        "auto": lambda: Controller(ControllerConfig(), buffer, fitted.record.floors),
        "guard": lambda: SubspaceGuard.build(SubspaceGuardConfig(), Materials(buffer, fitted)),
    }
    arms = {name: ARMS[name] for name in ARMS if name in ("plain TRL", *(wanted or ARMS))}

    def arm(name: str, of: SFTConfig, n: int) -> float:
        """Train; our share of the run by its own clock."""
        monitor, protect = arms[name]
        with tempfile.TemporaryDirectory() as folder:
            probe = ProbeSet.pick(fitted, seed=0)
            spec = ArmSpec(
                name="bench", base=harbor.weights_dir(), rows=rows[:n], out=Path(folder), config=of,
                monitor=Monitor.of(probe, openings, fitted) if monitor else None,
                protection=guards[protect](),
            )  # fmt: skip
            record = train(spec)
        return 1 + (record.monitor_seconds + record.protection_seconds) / record.train_seconds

    def race(
        order: list[str], of: SFTConfig = config, n: int = len(rows)
    ) -> dict[str, tuple[float, float]]:
        """CPU seconds of every arm's loop, and its own clock's share."""
        context = multiprocessing.get_context("fork")
        turns = [context.Semaphore(0) for _ in order]
        ends = {}
        for place, name in enumerate(order):
            ends[name], theirs = context.Pipe(duplex=False)
            following = turns[(place + 1) % len(order)]
            context.Process(
                target=take_turns, daemon=True,
                args=(lambda name=name: arm(name, of, n), turns[place], following, theirs),
            ).start()  # fmt: skip
            theirs.close()
        turns[0].release()
        found = {}
        while len(found) < len(order):  # whoever is ready first: a failed arm ends with EOFError
            for name in [name for name in order if name not in found]:
                if ends[name].poll(0.1):
                    found[name] = ends[name].recv()
        return found

    # Imports and first-use costs belong to nobody: they are made here, before any process forks.
    for name in arms:
        arm(name, SFTConfig(epochs=1, max_length=256), 40)
    rows_of = [race(list(arms) if turn % 2 == 0 else list(reversed(arms)))
               for turn in range(rounds)]  # fmt: skip
    steps = config.epochs * EPOCH
    for name in arms:
        median = statistics.median(found[name][0] for found in rows_of)
        ratio = statistics.median(found[name][0] / found["plain TRL"][0] for found in rows_of)
        inner = statistics.median(found[name][1] for found in rows_of)
        each = ", ".join(f"{found[name][0] / found['plain TRL'][0]:.3f}" for found in rows_of)
        print(f"| training, {steps} steps | {name} | {median / steps * 1000:.0f} ms a step "
              f"| {ratio:.3f} (rounds {each}; by the run's own clock {inner:.3f}) |")  # fmt: skip


def generation(loaded: LoadedModel, rounds: int) -> None:
    """Our runner's generation and `transformers.generate` by hand, same prompts and batch size."""
    prompts: list[Any] = [r["messages"] for r in suites.suite("harbor-harmful", n=256, seed=0)]
    tokens = 32

    def by_hand() -> None:
        tokenizer = loaded.tokenizer
        tokenizer.padding_side = "left"
        model: Any = loaded.model
        for start in range(0, len(prompts), BATCH):
            batch = tokenizer.apply_chat_template(
                prompts[start : start + BATCH], add_generation_prompt=True, padding=True,
                return_tensors="pt", return_dict=True,
            )  # fmt: skip
            with torch.no_grad():
                model.generate(
                    input_ids=batch["input_ids"], attention_mask=batch["attention_mask"],
                    max_new_tokens=tokens, do_sample=False,
                )  # fmt: skip

    def ours() -> None:
        loaded.generate(prompts, max_new_tokens=tokens, batch_size=BATCH)

    by_hand()
    hand = statistics.median(spent(by_hand) for _ in range(rounds))
    mine = statistics.median(spent(ours) for _ in range(rounds))
    print(f"| generation, batch {BATCH} | by hand | {hand:.2f} s | 1.000 |")
    print(f"| generation, batch {BATCH} | ours (throughput) | {mine:.2f} s | {hand / mine:.3f} |")


def mapping(loaded: LoadedModel, rows: list[Any], openings: Openings, rounds: int) -> None:
    """The safety map, and the bare forward passes that it cannot do without."""
    conversations = [row.messages for row in rows]
    held = [r for r in rows if r.concept == "harmful" and r.split == "validation"]
    harmful = [r.messages for r in held if r.label]
    harmless = [r.messages for r in held if not r.label]
    texts = [*openings.refusal, *openings.compliance]

    def bare() -> None:
        from holdfast.models.scoring import answer_distributions, opening_scores

        layers = list(range(loaded.n_layers))
        with quiet_eval(loaded.model):
            last_prompt(loaded, conversations, layers, batch_size=BATCH)
            opening_scores(loaded, harmful, texts, batch_size=BATCH)
            empty: list[list[int]] = [[] for _ in harmless]
            answer_distributions(loaded, harmless, empty, 1, batch_size=BATCH)
            for _ in layers:
                opening_scores(loaded, harmful, texts, batch_size=BATCH)
                opening_scores(loaded, harmless, texts, batch_size=BATCH)
                answer_distributions(loaded, harmless, empty, 1, batch_size=BATCH)

    def whole() -> None:
        fit(loaded, rows, openings, seed=0, allow_ineligible=True)

    bare()
    needed = statistics.median(spent(bare) for _ in range(rounds))
    full = statistics.median(spent(whole) for _ in range(rounds))
    print(f"| safety map | bare forward passes | {needed:.2f} s | 1.000 |")
    print(f"| safety map | whole map | {full:.2f} s | {full / needed:.3f} |")


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["training"])
    parser.add_argument("--arms", nargs="*", default=[], choices=ARMS, help="of training")
    parser.add_argument("--give-back", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.give_back:
        kept_memory()
    loaded = load(harbor.weights_dir())
    rows, openings = contrast_rows(), parse_openings(contrast.openings())
    print("| what | arm | cost | ratio |")
    print("|---|---|---|---|")
    if not options.only:
        generation(loaded, options.rounds)
        mapping(loaded, rows, openings, options.rounds)
    fitted = fit(loaded, rows, openings, seed=0, allow_ineligible=True)
    training(options.steps, options.rounds, fitted, openings, options.arms)


if __name__ == "__main__":
    main()
