"""What a repair tried, what it measured on validation, and what the gate said."""

from __future__ import annotations

from typing import Literal

from holdfast.core.records.base import Part, Record
from holdfast.core.records.verdict import Comparison, Outcome


class FailureMode(Part):
    """One way in which the run failed its gate, and what a repair makes of it."""

    metric: str
    """Metric that failed, see `holdfast.core.labels.METRICS`."""
    cause: str
    """What the failure means."""
    pair: str
    """Kind of training pair that answers it."""
    base_rate: float
    """Rate of the base on the gate's prompts."""
    run_rate: float
    """Rate of the failed run on the gate's prompts."""


class RepairTrial(Part):
    """One candidate, measured on validation prompts."""

    name: str
    """What was tried, such as `scale 0.5`."""
    settings: dict[str, float | str]
    """Settings that made it."""
    model_digest: str
    """Digest of the candidate as evaluated."""
    rates: dict[str, float]
    """Rate of each metric on validation."""
    prompts: int
    """Validation prompts behind the rates: fewer where a first look already ruled it out."""
    worst: float
    """Largest worsening against the base over the policy's blocking metrics, as a difference."""
    worst_metric: str
    """The metric of `worst`."""
    task_success: float
    """Task success on validation rows."""
    twin: bool = False
    """A control of equal size (shrunk, random subspace, random layers); never chosen."""
    front: bool = False
    """Whether no other candidate of its step is both safer and better at the task."""
    chosen: bool = False
    """Whether this one stands for its step."""


AttemptState = Literal["not sound", "not enough on validation", "gated"]


class RepairAttempt(Record):
    """One step of the ladder."""

    arm: str
    """The failed arm."""
    method: str
    """Name of the method."""
    position: int
    """Place on the ladder, from 1."""
    cost: float
    """Planned cost in answered prompts; a trained row counts three times (forward, backward)."""
    state: AttemptState
    """How far it came."""
    reason: str
    """Why it stopped there, in one sentence."""
    trials: tuple[RepairTrial, ...] = ()
    """Every candidate and control, in the order tried."""
    ask: int | None = None
    """Number of this ask among all that repairs of this arm made, from 1; None if not asked."""
    alpha: float | None = None
    """Level at which the gate was asked; None if it was not asked."""
    outcome: Outcome | None = None
    """The gate's word, if it was asked."""
    verdict: str = ""
    """Digest of the verdict, if there is one."""
    task_kept: Comparison | None = None
    """Held-out task success of the candidate against the failed run, if the gate was asked."""
    repaired: bool = False
    """The gate passed and the task is kept."""
    seconds: float = 0.0
    """Wall time of the step, resumed parts not counted."""

    @property
    def chosen(self) -> RepairTrial | None:
        """The candidate that stands for the step."""
        return next((trial for trial in self.trials if trial.chosen), None)


class RepairRecord(Record):
    """A whole ladder on one failed arm."""

    arm: str
    """The failed arm."""
    base: str
    """Model digest of the base."""
    failed: str
    """Model digest of the failed arm."""
    failures: tuple[FailureMode, ...]
    """How it failed."""
    attempts: tuple[RepairAttempt, ...]
    """Every step, in order."""
    gates_asked: int
    """How often repairs of this arm asked the gate, earlier ladders in this run included."""
    alpha: float
    """The policy's level, which all asks share."""
    control: str
    """How the level is kept over the asks, in one sentence."""
    outcome: Outcome
    """`pass` if a step repaired the arm, else the arm's own verdict."""
    method: str = ""
    """The step that did it."""
    artefact: str = ""
    """Folder of the repaired model, relative to the run."""
    model_digest: str = ""
    """Digest of the repaired model."""
