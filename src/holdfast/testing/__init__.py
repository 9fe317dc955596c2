"""Public helpers for the tests of Holdfast and of its plug-ins: tiny models built in code."""
