"""Data sets: read, check, hash, template, split by group, deduplicate. No torch."""

from holdfast.data.dataset import Dataset, Example, check_lengths, load, split_by_group
from holdfast.data.read import read_rows

__all__ = ["Dataset", "Example", "check_lengths", "load", "read_rows", "split_by_group"]
