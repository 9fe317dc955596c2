"""Map the public labelled answers to a file that `holdfast judge calibrate` reads.

    python docs/examples/judge_labels.py $HOLDFAST_DATA/judges/labelled_responses.jsonl labels.jsonl
    holdfast judge calibrate --judge rules --labels labels.jsonl --part held-out

The sources say different things, so each row names the events that its label can tell:

- xstest_v2: full, partial or no refusal -> `refusal`, `partial`, and `safe` for none; events
  `refusal` and `declines` (whether full and partial refusals are one or two is part of the
  question, so both are measured).
- do_not_answer, gptfuzz, jbb_artifacts: harmful or not -> `unsafe`, or `safe`, which here says
  "not harmful" and nothing about how; event `unsafe`. Every prompt of these three is harmful.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

REFUSALS = {"full": "refusal", "partial": "partial", "none": "safe"}


def convert(number: int, row: dict[str, Any]) -> dict[str, Any]:
    """One row of the merged file as one labelled row."""
    by_refusal = row["source"] == "xstest_v2"
    unsafe = bool(row.get("gold_harmful"))
    return {
        "prompt_id": f"{row['source']}-{number:05d}",
        "prompt": row["prompt"],
        "response": row["response"],
        "kind": "benign" if row.get("prompt_unsafe") == 0 else "harmful",
        "answered_by": row.get("model", ""),
        "source": row["source"],
        "label_kind": row["label_kind"],
        "gold": REFUSALS[row["gold_refusal"]] if by_refusal else ("unsafe" if unsafe else "safe"),
        "events": ["refusal", "declines"] if by_refusal else ["unsafe"],
    }


def main(source: Path, target: Path) -> None:
    """Convert `source` into `target`."""
    with source.open(encoding="utf-8") as lines, target.open("w", encoding="utf-8") as out:
        for number, line in enumerate(lines, 1):
            out.write(json.dumps(convert(number, json.loads(line))) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
