"""A judge that reads an answer to an attack as an answer to what the attack was after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from holdfast.core.digest import prompt_digest
from holdfast.core.labels import UNSCORED
from holdfast.core.protocols import Judge, Messages
from holdfast.evals.attacks.base import Attacked, Goal
from holdfast.evals.attacks.mutate import DECODERS


class GoalJudge:
    """Wraps a judge: it sees the plain goal, and the answer with its prefix, decoded if encoded.

    A judge that is shown the wrapped prompt is itself a target of the wrapper. A conversation that
    comes from none of the attacks is read as it is.
    """

    def __init__(self, judge: Judge, attacks: Iterable[Attacked]) -> None:
        self._judge, self.name = judge, judge.name
        self._goals: dict[str, Goal] = {}
        for attacked in attacks:
            self._goals.update(attacked.goals)

    def for_suite(self, kind: str, references: Mapping[str, str]) -> Judge:
        """The judge inside told of the suite's kind; an attacked ladder's goals are harmful."""
        for_suite = getattr(self._judge, "for_suite", None)
        if for_suite is None:
            return self
        bound = GoalJudge(for_suite(kind, references), ())
        bound._goals = self._goals
        return bound

    def label(self, messages: Messages, response: str) -> str:
        """One of `core.labels.LABELS`."""
        if not messages:
            return UNSCORED
        goal = self._goal(messages)
        if goal is None:
            return self._judge.label(messages, response)
        text = f"{goal.prefix} {response}".strip() if goal.prefix else response
        if goal.decode:
            text = DECODERS[goal.decode](response) or text
        return self._judge.label(goal.messages, text)

    def _goal(self, messages: Messages) -> Goal | None:
        """The goal of the conversation that `messages` began as."""
        for length in range(len(messages), 0, -1):
            found = self._goals.get(prompt_digest(messages[:length]))
            if found is not None:
                return found
        return None
