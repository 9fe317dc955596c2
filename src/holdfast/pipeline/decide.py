"""Stage: the gate's verdict on every arm, with JUnit and Markdown beside it."""

from __future__ import annotations

from pathlib import Path

import yaml

from holdfast.core.completions import load
from holdfast.core.files import write_text
from holdfast.core.records import Verdict
from holdfast.gate import junit, markdown
from holdfast.gate.decide import evaluate as gate
from holdfast.gate.policy import Policy
from holdfast.gate.policy import load as load_policy
from holdfast.pipeline.context import Run


def policy_of(run: Run) -> Policy:
    """The plan's policy, under the plan's threat label."""
    named = run.plan.policy
    policy = load_policy(None if named == "default" else Path(named))
    return policy.model_copy(update={"threat": run.plan.threat})


def decide(run: Run, arm: str, base: Path, candidate: Path, judges: dict[str, str]) -> Verdict:
    """Gate the answers of `arm` against the base's, on the same frozen prompts."""
    policy = policy_of(run)
    first, second = load(base), load(candidate)
    name = f"verdicts/{arm}.json"
    inputs = {"policy": policy.digest(), "base": first.digest, "candidate": second.digest}
    if not run.store.finished(name, inputs):
        run.progress(f"gate {arm}", 0, 0)
        verdict = gate(first, second, judge=judges, policy=policy, arm=arm)
        policy_text = yaml.safe_dump(policy.model_dump(mode="json"), sort_keys=False)
        write_text(run.store.path("policy.yaml"), policy_text)
        write_text(run.store.path(f"verdicts/{arm}.junit.xml"), junit.render([verdict]))
        write_text(run.store.path(f"verdicts/{arm}.md"), markdown.render([verdict]))
        run.store.finish(name, verdict, inputs)
    return run.store.read(name, Verdict)
