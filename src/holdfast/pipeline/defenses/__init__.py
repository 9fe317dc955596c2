"""The defence bench: every protection and repair on the same data, beside its twins."""
