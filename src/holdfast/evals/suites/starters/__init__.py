"""Starter suites for a user's own domain: five kinds of prompt from mild templates."""

from holdfast.evals.suites.starters.writing import KINDS, Starter, starters, write

__all__ = ["KINDS", "Starter", "starters", "write"]
