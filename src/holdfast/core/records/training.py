"""What a training arm did."""

from __future__ import annotations

from holdfast.core.records.base import Part, Record
from holdfast.core.records.geometry import MonitorPoint


class Checkpoint(Part):
    """One checkpoint of an arm."""

    step: int
    """Optimizer step."""
    epoch: float
    """Epochs of data seen."""
    path: str
    """Folder, relative to the run."""
    model_digest: str
    """Digest of base and adapter (or full weights) as evaluated."""


class BlamedRow(Part):
    """One training row that pushed against refusing in the batches before an alarm."""

    step: int
    """Optimizer step that its batch made."""
    row: int
    """Its place among the training rows, from 0; -1 where it is not one of them."""
    push: float
    """First-order rise of the loss of refusing per unit of learning rate; above 0."""


class Alarm(Part):
    """One alarm of the monitor."""

    step: int
    """Step at which it fired."""
    rule: str
    """The rule, such as `negative_share > 0.10`."""
    value: float
    """The number that crossed."""
    threshold: float
    """The threshold it crossed."""
    action: str
    """`log`, `stop` or `rollback`, as taken."""
    concept: str = ""
    """What is being lost, such as `harmful/fraud`: where most of the margin went."""
    site: str = ""
    """Site at which the drifts were read."""
    streams: dict[str, float] = {}
    """What each stream added to the score, where the rule reads several."""
    rows: tuple[BlamedRow, ...] = ()
    """Rows of the last batches that pushed most, the worst first."""


class ScaleChoice(Part):
    """One candidate scale of the adapter, measured on validation prompts."""

    scale: float
    """Factor on the adapter."""
    task_success: float
    """Task success on validation rows."""
    refusal: float
    """Share of harmful validation prompts refused."""
    chosen: bool
    """Whether this scale was taken."""


class MultiplierPoint(Part):
    """One step of a protection whose strength is steered during the run."""

    step: int
    """Optimizer step after which the model was looked at."""
    multiplier: float
    """Strength from here on."""
    violation: float
    """How far the worst constraint is beyond its budget, as a share of it; in [-1, 1]."""
    worst: str
    """Which constraint that was."""


class ProtectionReport(Part):
    """What one protection did."""

    name: str
    """Name in the registry."""
    due: int
    """Steps on which it had to act."""
    guarded: int
    """Steps on which it really acted."""
    numbers: dict[str, float] = {}
    """What it measured about itself."""
    path: tuple[MultiplierPoint, ...] = ()
    """Its multiplier over the run, where it is steered."""


class TrainingRecord(Record):
    """One finished training arm."""

    arm: str
    """`plain` or `protected` (or the name in the plan)."""
    base: str
    """Model digest of the base."""
    method: str
    """Method and tuner, such as `sft+lora`."""
    protection: str
    """Protection and its settings, or `none`."""
    steps: int
    """Optimizer steps done."""
    protected_steps: int
    """Steps on which the protection really acted; zero under a protection makes the run invalid.
    Of several, the fewest."""
    protections: tuple[ProtectionReport, ...] = ()
    """What each protection did."""
    train_seconds: float
    """Wall time of training without our observations."""
    monitor_seconds: float
    """Wall time of the monitor."""
    protection_seconds: float
    """Wall time of the protection."""
    final_loss: float
    """Training loss at the end."""
    checkpoints: tuple[Checkpoint, ...]
    """Every checkpoint, in order; the last is the result."""
    scales: tuple[ScaleChoice, ...] = ()
    """Adapter scales tried on validation, if any."""
    trajectory: tuple[MonitorPoint, ...]
    """Everything that the monitor saw."""
    alarms: tuple[Alarm, ...]
    """Every alarm."""
