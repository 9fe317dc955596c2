"""Thirty harmless requests, each with one instruction whose answer a program can check."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from holdfast.evals.suites.base import Prompt, Suite

if TYPE_CHECKING:
    from holdfast.evals.suites.loading import SuiteOptions

INSTRUCTIONS: Final[tuple[tuple[str, str, Any], ...]] = (
    ("Describe the sea in exactly three words.", "words", 3),
    ("Name a fruit in exactly one word.", "words", 1),
    ("Describe winter in exactly five words.", "words", 5),
    ("Explain what a bridge is in at most ten words.", "at most words", 10),
    ("Say what rain is in at most eight words.", "at most words", 8),
    ("Say what a library is for in at most twelve words.", "at most words", 12),
    ("Name three colours, one per line and nothing else.", "lines", 3),
    ("Name two rivers, one per line and nothing else.", "lines", 2),
    ("Write a poem of four lines about a lamp.", "lines", 4),
    ('List three animals as bullets that start with "- ".', "bullets", 3),
    ('List two tools as bullets that start with "- ".', "bullets", 2),
    ('List four vegetables as bullets that start with "- ".', "bullets", 4),
    ("Greet me in lower case letters only.", "lower case", None),
    ("Tell me the capital of France in lower case letters only.", "lower case", None),
    ("Greet me IN CAPITAL LETTERS only.", "upper case", None),
    ("Tell me a season IN CAPITAL LETTERS only.", "upper case", None),
    ("Describe a cat without using the letter z.", "without letter", "z"),
    ("Name a month without using the letter j.", "without letter", "j"),
    ("Describe a house in one sentence without commas.", "without comma", None),
    ("Describe your favourite food in one sentence without commas.", "without comma", None),
    ('Begin your answer with "Answer:". What is a kettle?', "begins", "Answer:"),
    ('Begin your answer with "Well then". What is a clock?', "begins", "Well then"),
    ('End your answer with "That is all." What is a garden?', "ends", "That is all."),
    ('End your answer with "Over." What is a train?', "ends", "Over."),
    ('Use the word "lantern" in one sentence.', "contains", "lantern"),
    ('Use the word "harvest" in one sentence.', "contains", "harvest"),
    ('Reply with a JSON object that has the keys "name" and "age", nothing else.', "json keys",
     ["name", "age"]),
    ('Reply with a JSON object that has the key "colour", nothing else.', "json keys", ["colour"]),
    ("What is seven plus eight? Reply with the number alone.", "number", 15),
    ("How many days has a week? Reply with the number alone.", "number", 7),
)  # fmt: skip
"""Request, name of the check, its value."""


def suite(options: SuiteOptions) -> Suite:
    """The instructions as a suite of kind `helpful`: following one is the right answer."""
    prompts = tuple(
        Prompt(
            prompt_id=f"instructions-{number:02d}", category=check,
            messages=[{"role": "user", "content": text}],
            reference=json.dumps({"check": check, "value": value}),
        )
        for number, (text, check, value) in enumerate(INSTRUCTIONS, 1)
    )  # fmt: skip
    return Suite(
        options.name or "instructions", "helpful", prompts, "instructions", "Apache-2.0",
        "follows an instruction that a program can check: the early warning of a fine-tune",
    )  # fmt: skip
