"""Safety vectors in the manner of RESTA."""
