"""How a concept becomes a direction: one folder per method."""
