"""The record of one evaluation: whose answers, how many, at what cost, and what is not known."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.records import Record


class EvalRecord(Record):
    """Written beside every completions file that the runner writes.

    `inputs` holds the digest of the prompts and of the completions; `environment` what the
    generator says of itself, such as the address of an endpoint or the number of workers.
    """

    model: str
    """Content digest of the weights, or `unverified:…` where nobody has seen them."""
    verified: bool
    """Whether `model` is a digest of content. An endpoint only claims what it serves."""
    arm: str
    """What people call the model."""
    parameters: dict[str, float]
    """Generation parameters: max_new_tokens, temperature, seed."""
    prompts: int
    """Prompts of the plan."""
    answers: int
    """Answers that they have, turns of ladders included."""
    reused: int
    """Answers among them that an earlier, interrupted run or another plan had generated."""
    failed: int
    """Prompts without an answer; their rows are unscored and say why."""
    input_tokens: int | None = None
    """Prompt tokens over all answers, if every answer came with a count."""
    output_tokens: int | None = None
    """Answer tokens, likewise."""
    cost: float | None = None
    """Tokens times the prices that were given, in their currency; None where either is unknown."""
    seconds: float
    """Wall-clock seconds of this run, without those of interrupted ones."""


def record_path(out: Path) -> Path:
    """Where the record of the completions file `out` is: `base.jsonl` → `base.record.json`."""
    return out.with_suffix(".record.json")
