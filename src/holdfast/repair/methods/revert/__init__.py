"""Selective layer revert."""
