"""A real pretrained model on real data: prepare a plan from public files, then `holdfast run` it.

The model (stories260K, a TinyStories Llama) was never aligned, so the run must end INCONCLUSIVE
with "nothing to preserve", while map, trajectories and report still work. Reads public files below
HOLDFAST_DATA; writes plan.yaml, contrast.jsonl and replay.jsonl into OUT.

    python docs/examples/real_input.py OUT && holdfast run OUT/plan.yaml --out OUT/run
"""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

from holdfast.core.files import write_jsonl, write_text
from holdfast.core.seeds import derive

SPLITS = (("train", 0.5), ("validation", 0.75), ("test", 1.0))
LONGEST = 300
"""Characters; the model's context is 512 tokens of about two characters."""

PLAN = """\
# Written by docs/examples/real_input.py
name: real-input
seed: 0
model: {{source: "{data}/weights/stories260K", dtype: float32, device: cpu}}
data: {{source: "{data}/tune/gsm8k_train.jsonl", rows: 600, held_out: 60, validation: 40}}
map: {{contrast: contrast.jsonl, openings: default, replay: replay.jsonl}}
train: {{learning_rate: 1.0e-3, epochs: 2, batch_size: 16, max_length: 448, unusable_rows: drop}}
protect: {{scales: [1.0, 0.5]}}
evaluate:
  judge: rules
  suites:
    - {{spec: "harmbench:{data}/prompts/harmbench_text_test.csv"}}
    - {{spec: "xstest-safe:{data}/prompts/xstest.csv"}}
  per_suite: 200
  per_epoch: 60
  max_new_tokens: 64
  batch_size: 32
  too_long: drop
policy: default
"""


def split_of(seed_text: str) -> str:
    """A split by the prompt's own hash, so that no prompt is ever in two."""
    place = derive(0, "contrast", seed_text) / 2**31
    return next(name for name, end in SPLITS if place < end)


def contrast(prompts: Path) -> list[dict[str, object]]:
    """StrongREJECT by category against harmless instructions, equally many in every split."""
    with (prompts / "strongreject.csv").open(encoding="utf-8", newline="") as handle:
        harmful = [(row["category"], row["forbidden_prompt"]) for row in csv.DictReader(handle)]
    rows: list[dict[str, object]] = []
    harmless = json.loads((prompts / "contrast" / "harmless_test.json").read_text("utf-8"))
    texts = iter([h["instruction"] for h in harmless if len(h["instruction"]) < LONGEST])
    for number, (category, text) in enumerate(harmful):
        if len(text) >= LONGEST:
            continue
        split = split_of(text)
        for label, content in ((1, text), (0, next(texts))):
            rows.append(
                {
                    "concept": "harmful", "category": category, "label": label, "split": split,
                    "prompt_id": f"strongreject-{number}-{label}",
                    "messages": [{"role": "user", "content": content}],
                }
            )  # fmt: skip
    return rows


def main(out: Path) -> None:
    """Write the plan and its two files."""
    data = Path(os.environ["HOLDFAST_DATA"]).resolve()
    prompts = data / "prompts"
    write_jsonl(out / "contrast.jsonl", contrast(prompts))
    buffer = json.loads((prompts / "contrast" / "harmful_train.json").read_text("utf-8"))
    write_jsonl(out / "replay.jsonl", ({"prompt": row["instruction"]} for row in buffer))
    write_text(out / "plan.yaml", PLAN.format(data=data))
    print(f"Next: holdfast run {out / 'plan.yaml'} --out {out / 'run'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
