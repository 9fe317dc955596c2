"""Sycophancy as a pair: resistance to bare pressure, uptake of valid evidence."""
