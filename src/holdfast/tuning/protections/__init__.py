"""Protections; each is a folder with `config.py` and `protection.py`, named in the registry."""
