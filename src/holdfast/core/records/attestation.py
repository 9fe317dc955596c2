"""What shows that a model was trained under Holdfast, where another framework ran the training."""

from __future__ import annotations

from holdfast.core.records.base import Record
from holdfast.core.records.training import Alarm, ProtectionReport


class Attestation(Record):
    """Written beside the weights after training, and checked against them before anyone uses them.

    It guards against accidents: a plugin that was not loaded, a callback that a framework dropped,
    weights that were trained again. It is not signed, so it says nothing about someone who forges.
    """

    framework: str
    """Who ran the training, with its version."""
    protection: str
    """Protections and their settings as JSON, or `none`."""
    steps: int
    """Optimizer step whose weights were delivered."""
    protections: tuple[ProtectionReport, ...]
    """What each protection did; empty where the run was only watched."""
    watched: int
    """Observations of the monitor, the one of the base included; 0 where there was none."""
    alarms: tuple[Alarm, ...]
    """Every alarm."""
    files: dict[str, str]
    """SHA-256 of every weight file in the folder, by name."""
