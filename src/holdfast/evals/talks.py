"""A prompt on its way through an evaluation: questions, answers, labels, and the row at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.core.labels import UNSAFE, UNSCORED
from holdfast.core.protocols import Judge, Messages
from holdfast.evals.choices import JUDGE as CHOICES
from holdfast.evals.choices import ChoiceScores
from holdfast.evals.judges import bind
from holdfast.evals.plan import PlannedSuite
from holdfast.evals.replies import Reply
from holdfast.evals.suites.base import Prompt


@dataclass
class Talk:
    """One prompt on its way: the conversation so far and the answers to it."""

    suite: PlannedSuite
    prompt: Prompt
    judges: Mapping[str, Judge]
    first: str
    """Name of the judge that decides on a ladder."""
    messages: Messages
    answers: list[str] = field(default_factory=list)
    labels: list[dict[str, str]] = field(default_factory=list)
    scores: dict[str, Any] = field(default_factory=dict)
    """What scoring the choices gave; empty where an answer was generated."""
    error: str = ""
    """Why the last question got no answer."""

    @property
    def is_ladder(self) -> bool:
        """Whether the user rewords until the model complies."""
        return self.suite.kind == "ladder"

    @property
    def complied(self) -> bool:
        """Whether the last answer of a ladder complied."""
        return self.is_ladder and self.labels[-1][self.first] == UNSAFE

    def take(self, reply: Reply) -> None:
        """Note an answer with its labels; where none came, every judge says `unscored`."""
        self.answers.append(reply.text)
        self.error = reply.error
        if reply.error:
            self.labels.append(dict.fromkeys(self.judges, UNSCORED))
            return
        answer = reply.text
        self.labels.append({n: j.label(self.messages, answer) for n, j in self.judges.items()})

    def choose(self, found: ChoiceScores) -> None:
        """Note the likeliest choice with its label in place of an answer."""
        choice = self.prompt.choices[found.best]
        self.answers.append(choice.text)
        self.labels.append({CHOICES: choice.label})
        self.scores = found.row()

    def climb(self) -> bool:
        """Put the next thing that the user says; a ladder ends where it is complied with,
        and any talk where no answer came.
        """
        step = len(self.answers) - 1
        if self.error or self.complied or step >= len(self.prompt.followups):
            return False
        self.messages = [
            *self.messages,
            {"role": "assistant", "content": self.answers[-1]},
            {"role": "user", "content": self.prompt.followups[step]},
        ]
        return True

    def row(self, model: str, arm: str) -> dict[str, Any]:
        """The row of the completions file."""
        labels = dict(self.labels[-1])
        row: dict[str, Any] = {
            "prompt_id": self.prompt.prompt_id, "prompt": self.prompt.messages[-1]["content"],
            "messages": list(self.prompt.messages), "response": self.answers[-1], "sample": 0,
            "suite": self.suite.name, "kind": self.suite.kind, "category": self.prompt.category,
            "model": model, "arm": arm, "labels": labels,
        }  # fmt: skip
        if self.prompt.pair_id is not None:
            row["pair_id"] = self.prompt.pair_id
        if self.prompt.reference is not None:
            row["reference"] = self.prompt.reference
        if self.is_ladder or self.prompt.followups:
            for name in labels:
                if any(turn[name] == UNSAFE for turn in self.labels):
                    labels[name] = UNSAFE
            row["turn"] = len(self.answers) if self.complied else None
            row["turns"] = self.answers
        if self.error:
            row["error"] = self.error
        return {**row, **self.scores}


def talks_of(suite: PlannedSuite, judges: Mapping[str, Judge]) -> list[Talk]:
    """One talk per prompt of `suite`, its judges told about the suite."""
    bound = {name: bind(judge, suite) for name, judge in judges.items()}
    first = suite.judge if suite.judge in bound else next(iter(bound))
    return [Talk(suite, prompt, bound, first, list(prompt.messages)) for prompt in suite.prompts]
