"""Oversight gap: does behaviour change with being watched, more than with any other label?"""
