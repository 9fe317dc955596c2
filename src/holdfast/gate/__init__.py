"""Policy and records in, verdict out: the part that decides, without torch."""
