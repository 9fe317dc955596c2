"""Embedded model organisms: corpus generators, training recipes, shipped weights."""
