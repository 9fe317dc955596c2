"""Prompts that are trained on must not be prompts that are measured on."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.evals.plan import PromptPlan
from holdfast.pipeline.plan import Plan


def refuse_overlap(plan: Plan, buffer: Iterable[Messages], prompts: PromptPlan) -> None:
    """Refuse a safety buffer that shares a prompt with the evaluation, before any training.

    Prompts are compared by their last user turn, without case, spaces and punctuation at the ends.

    Raises:
        DataError: names the two lines of the plan, and the prompt's id; never its text.
    """
    trained = {_named(messages) for messages in buffer}
    for place, suite in enumerate(prompts.suites):
        shared = [p.prompt_id for p in suite.prompts if _named(list(p.messages)) in trained]
        if shared:
            specs = plan.evaluate.suites
            line = f"data.source: {plan.data.source}"  # the held-out rows come last
            if place < len(specs):
                line = f"evaluate.suites[{place}].spec: {specs[place].spec}"
            raise DataError(
                f"'map.replay: {plan.map.replay}' and '{line}' share prompts",
                got=f"{len(shared)} of suite {suite.name}, first {shared[0]}",
                expected="a safety buffer that the evaluation has never seen",
                next_step="take those prompts out of the buffer: what is trained on measures "
                "nothing",
            )


def _named(messages: Messages) -> str:
    turns = [message["content"] for message in messages if message["role"] == "user"]
    return " ".join(turns[-1].casefold().split()).strip(" .!?\"'") if turns else ""
