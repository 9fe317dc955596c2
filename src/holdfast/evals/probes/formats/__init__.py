"""Formats: the same request as code, JSON, verse or a form; refusals may not follow it there."""
