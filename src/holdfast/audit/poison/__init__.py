"""Poison and trigger candidates, from which rows disagree with the base. No torch."""
