"""The three drifts of a fine-tune against its base: collapse, interference, rotation."""

from holdfast.geometry.drift.quick import point
from holdfast.geometry.drift.report import measure, measure_activations

__all__ = ["measure", "measure_activations", "point"]
