"""Eras: the same neutral question answered for 1850, 1950 and today, and harm asked from them."""
