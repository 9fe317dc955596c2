"""Checks of the text of every row: no torch, one pass, bounded memory."""
