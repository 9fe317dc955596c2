"""One folder per way of repairing."""
