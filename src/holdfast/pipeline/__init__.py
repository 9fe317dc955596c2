"""The story of a run, one stage per file; the only place that knows the order."""
