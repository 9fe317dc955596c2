"""Adapter scaling and interpolation between the base and the fine-tune."""
