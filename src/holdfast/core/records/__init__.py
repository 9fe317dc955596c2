"""Records are the contract: producers write them, readers decide from them alone."""

from holdfast.core.records.base import Part, Record
from holdfast.core.records.geometry import (
    CategoryDirection,
    DriftReport,
    DriftValue,
    MonitorPoint,
    SafetyMap,
    Site,
    WeightShare,
)
from holdfast.core.records.refs import DatasetRef, ModelKind, ModelRef
from holdfast.core.records.training import Alarm, Checkpoint, ScaleChoice, TrainingRecord
from holdfast.core.records.verdict import (
    Comparison,
    Finding,
    Interval,
    Outcome,
    PairedTable,
    Threat,
    Verdict,
)

__all__ = [
    "Alarm",
    "CategoryDirection",
    "Checkpoint",
    "Comparison",
    "DatasetRef",
    "DriftReport",
    "DriftValue",
    "Finding",
    "Interval",
    "ModelKind",
    "ModelRef",
    "MonitorPoint",
    "Outcome",
    "PairedTable",
    "Part",
    "Record",
    "SafetyMap",
    "ScaleChoice",
    "Site",
    "Threat",
    "TrainingRecord",
    "Verdict",
    "WeightShare",
]
