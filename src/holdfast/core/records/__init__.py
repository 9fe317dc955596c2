"""Records are the contract: producers write them, readers decide from them alone."""

from holdfast.core.records.attestation import Attestation
from holdfast.core.records.audit import (
    AnswerCluster,
    AuditRecord,
    Breadth,
    CheckRun,
    ScoreSummary,
    TriggerCandidate,
)
from holdfast.core.records.base import Part, Record
from holdfast.core.records.forecast import (
    FittedMetric,
    Forecast,
    Forecaster,
    MetricForecast,
    Variant,
)
from holdfast.core.records.geometry import (
    CategoryDirection,
    DriftReport,
    DriftValue,
    MonitorPoint,
    SafetyMap,
    Site,
    WeightShare,
)
from holdfast.core.records.methods import RankPoint, RankSearch, RewardGate
from holdfast.core.records.refs import DatasetRef, ModelKind, ModelRef
from holdfast.core.records.repair import (
    FailureMode,
    RepairAttempt,
    RepairRecord,
    RepairTrial,
)
from holdfast.core.records.training import (
    Alarm,
    BlamedRow,
    Checkpoint,
    MultiplierPoint,
    ProtectionReport,
    ScaleChoice,
    TrainingRecord,
)
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
    "AnswerCluster",
    "Attestation",
    "AuditRecord",
    "BlamedRow",
    "Breadth",
    "CategoryDirection",
    "CheckRun",
    "Checkpoint",
    "Comparison",
    "DatasetRef",
    "DriftReport",
    "DriftValue",
    "FailureMode",
    "Finding",
    "FittedMetric",
    "Forecast",
    "Forecaster",
    "Interval",
    "MetricForecast",
    "ModelKind",
    "ModelRef",
    "MonitorPoint",
    "MultiplierPoint",
    "Outcome",
    "PairedTable",
    "Part",
    "ProtectionReport",
    "RankPoint",
    "RankSearch",
    "Record",
    "RepairAttempt",
    "RepairRecord",
    "RepairTrial",
    "RewardGate",
    "SafetyMap",
    "ScaleChoice",
    "ScoreSummary",
    "Site",
    "Threat",
    "TrainingRecord",
    "TriggerCandidate",
    "Variant",
    "Verdict",
    "WeightShare",
]
