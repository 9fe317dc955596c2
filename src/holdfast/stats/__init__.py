"""Intervals, paired tests, multiplicity, power: standard library only, checked against papers."""
