"""Replay of a small safety buffer with KL to the base model's own answers."""
