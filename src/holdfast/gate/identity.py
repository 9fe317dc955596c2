"""Whether the gate knows whose answers it reads: an endpoint's name is no digest of weights."""

from __future__ import annotations

from holdfast.core.records import Finding
from holdfast.core.records.refs import UNVERIFIED
from holdfast.gate.codes import finding
from holdfast.gate.policy import Policy


def unverified_arms(base: str, candidate: str, policy: Policy) -> list[Finding]:
    """A finding for each arm whose model is known by name only.

    It forbids a pass, unless the policy says in words (`unverified`) why a name is enough; then
    those words are part of the verdict. A regression that is shown stays a FAIL.
    """
    found = []
    for arm, model in (("base", base), ("candidate", candidate)):
        if not model.startswith(UNVERIFIED):
            continue
        who = f"the {arm} is known by name only ({model.removeprefix(UNVERIFIED)[:120]})"
        if policy.unverified.strip():
            message = f"{who}; the policy accepts this: {policy.unverified.strip()[:300]}"
            found.append(finding("GATE025", message))
        else:
            message = (
                f"{who}, so that nobody can say which weights this verdict is about; evaluate the "
                "weights themselves, or say in the policy, under 'unverified', why the name is "
                "enough"
            )
            found.append(finding("GATE024", message))
    return found
