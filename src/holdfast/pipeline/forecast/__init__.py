"""Forecast of what training will do to safety: signals, the fitted model, and its test on a zoo."""
