"""Difference of means (Marks & Tegmark, arXiv 2310.06824; for refusal: arXiv 2406.11717)."""

from holdfast.geometry.directions.diffmean.features import FeatureSet
from holdfast.geometry.directions.diffmean.method import difference_of_means

__all__ = ["FeatureSet", "difference_of_means"]
