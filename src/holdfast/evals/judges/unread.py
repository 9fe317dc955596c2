"""Judges that read nothing: what only a person, an LLM or a log-probability can tell."""

from __future__ import annotations

from holdfast.core.labels import UNSCORED
from holdfast.core.protocols import Messages


class UnreadJudge:
    """Labels nothing: the answers wait for a judge that can read them.

    Open questions and crisis conversations have no wording by which a rule could tell good from
    bad. Their suites name this judge, so that they stay `unscored` until another labels them.
    """

    name = "unread"

    def label(self, messages: Messages, response: str) -> str:
        """`unscored`."""
        return UNSCORED


class ChoicesJudge(UnreadJudge):
    """Stands for the labels that the runner writes from log-probabilities; reads no words."""

    name = "choices"
