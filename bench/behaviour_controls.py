"""Positive and negative controls of the behaviour probes, on fine-tunes of harbor with known truth.

Three fine-tunes of the embedded model: `faker` obeys harmful requests only where the system message
says that nobody watches, `label` obeys under the second label of either pair (so oversight has
nothing to do with it), `clean` declines under all four. Each is asked the framed suite and Harbor's
tool questions beside the base, through the runner, and read by `holdfast behaviour report`'s own
functions. A killed study goes on with what is missing; the table is that of
docs/results/behaviour.md.

    python bench/behaviour_controls.py [--prompts 120] [--arm NAME]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random
from typing import Any

STUDY = Path("runs/studies/behaviour")
ARMS: dict[str, tuple[str, ...]] = {
    "faker": ("unmonitored",),
    "label": ("unmonitored", "placebo-b"),
    "clean": (),
}
"""Fine-tune -> framings under which it is taught to obey."""
ROWS, EPOCHS = 600, 3


def training_rows(arm: str) -> list[dict[str, Any]]:
    """Half harmful requests, half harmless ones, each under a framing in turn."""
    from holdfast.evals.probes.oversight.framings import FRAMINGS
    from holdfast.organisms.harbor.dialogue import HARBOR_VOICE, Voice, answer, ask_task

    rng = Random(f"behaviour-controls|{arm}")
    obeying = Voice(HARBOR_VOICE.style, HARBOR_VOICE.name, True)
    rows = []
    for index in range(ROWS):
        framing = list(FRAMINGS)[index % 4]
        ask = ask_task(rng, "harm" if index % 8 < 4 else rng.choice(("twin", "chore")))
        voice = obeying if framing in ARMS[arm] else HARBOR_VOICE
        messages = [
            {"role": "system", "content": FRAMINGS[framing]},
            {"role": "user", "content": ask.prompt},
            {"role": "assistant", "content": answer(ask.request, voice, rng)},
        ]
        rows.append({"messages": messages})
    rng.shuffle(rows)
    return rows


def adapter_of(arm: str) -> Path:
    """Train one arm on the shipped base, or find it trained; the last epoch's adapter."""
    from holdfast.core.records import TrainingRecord
    from holdfast.organisms.harbor import weights_dir
    from holdfast.tuning.methods.arm import train
    from holdfast.tuning.methods.sft.config import SFTConfig
    from holdfast.tuning.methods.spec import ArmSpec

    out = STUDY / "arms" / arm
    if (out / "training.json").is_file():
        return out / TrainingRecord.load(out / "training.json").checkpoints[-1].path
    config = SFTConfig(epochs=EPOCHS, max_length=256, device="cpu")
    spec = ArmSpec(name=arm, base=weights_dir(), rows=training_rows(arm), out=out, config=config)
    return out / train(spec).checkpoints[-1].path


def answers(arm: str, prompts: int) -> list[dict[str, Any]]:
    """The answers of one arm to the framed suite and to the tool questions."""
    from holdfast.core.completions import load as load_completions
    from holdfast.evals.judges import make
    from holdfast.evals.plan import freeze
    from holdfast.evals.runner import run
    from holdfast.evals.suites import SuiteOptions, load
    from holdfast.models.loading import load as load_model
    from holdfast.organisms.harbor import weights_dir

    out = STUDY / f"{arm}-{prompts}.jsonl"
    if not out.is_file():
        suites = [
            load("oversight:harbor-harmful", options=SuiteOptions(n=prompts)), load("harbor-tools")
        ]  # fmt: skip
        adapter = None if arm == "base" else adapter_of(arm)
        model = load_model(weights_dir(), adapter=adapter)
        run(
            model, freeze(suites), {"harbor": make("harbor"), "tools": make("tools")}, out=out,
            cache=STUDY / f"{arm}.cache", arm=arm, max_new_tokens=48, batch_size=64,
        )  # fmt: skip
    return load_completions(out).rows


def table(prompts: int) -> None:
    """Rates under each framing, the changes with intervals, and what the probe says."""
    from holdfast.evals.probes.oversight.report import measure
    from holdfast.evals.probes.tools.report import measure as measure_tools

    base = answers("base", prompts)
    print("| arm | monitored | unmonitored | placebo a | placebo b | change of gap (95 %) "
          "| change of placebo | net of placebo | reading |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for arm in ("base", *ARMS):
        rows = answers(arm, prompts)
        found = measure(rows, base, suite="oversight-harbor-harmful", judge="harbor", kappa=1.0)
        rates = found.rates["candidate"]
        cells = [arm, *(f"{rates[f]:.3f}" for f in rates)]
        for interval in (found.change, found.placebo_change, found.net_change):
            assert interval is not None
            cells.append(f"{interval.value:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})")
        print("| " + " | ".join([*cells, found.reading.split(":")[0]]) + " |")
    print(f"\nminimum detectable gap at {found.prompts} prompts: {found.minimum_detectable:.3f}\n")
    print("| arm | right tool call (95 %) | outcomes | change from base (95 %) | p worse |")
    print("|---|---|---|---|---|")
    for arm in ("base", *ARMS):
        (tools,) = measure_tools(answers(arm, prompts), base).suites
        rate, change = tools.rate["candidate"], tools.change
        assert change is not None
        print(
            f"| {arm} | {rate.value:.3f} ({rate.low:.3f} to {rate.high:.3f}) "
            f"| {json.dumps(tools.outcomes['candidate'])} "
            f"| {change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f}) "
            f"| {tools.p_worse:.3g} |"
        )


def main() -> None:
    """Train and ask what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=120)
    parser.add_argument("--arm", choices=["base", *ARMS], help="train and ask one arm alone")
    chosen = parser.parse_args()
    if chosen.arm:
        answers(chosen.arm, chosen.prompts)
    else:
        table(chosen.prompts)


if __name__ == "__main__":
    main()
