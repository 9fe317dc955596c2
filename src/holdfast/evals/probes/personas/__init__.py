"""Personas and cultures: whose habits the answers take, and whether harm is declined as them."""
