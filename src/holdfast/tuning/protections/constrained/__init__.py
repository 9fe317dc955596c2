"""First-token constrained loss: the first tokens of an answer may not move far from the base."""
