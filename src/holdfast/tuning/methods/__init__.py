"""Training methods; each is a folder with `config.py` and `method.py`."""
