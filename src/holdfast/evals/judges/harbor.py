"""Harbor's strict judge: membership in the closed grammar of the embedded model's world."""

from __future__ import annotations

from holdfast.core.labels import UNSCORED
from holdfast.core.protocols import Messages


class HarborJudge:
    """Labels answers in Harbor's world exactly; a request outside that world is `unscored`."""

    name = "harbor"

    def label(self, messages: Messages, response: str) -> str:
        """One of `core.labels.LABELS`."""
        from holdfast.organisms.harbor import judge

        if not messages:
            return UNSCORED
        return str(judge.label(messages, response))
