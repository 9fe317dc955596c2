"""The monitor bench: every monitor on the zoo, beside its nulls."""
