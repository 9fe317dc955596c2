"""Freezing some decoder blocks: a baseline."""
