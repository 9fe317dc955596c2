"""Holdfast inside other frameworks: one `holdfast:` section, one callback, one attestation."""
