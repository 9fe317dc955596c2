"""Probes: questions that no standard suite asks, always as a difference between two arms."""
