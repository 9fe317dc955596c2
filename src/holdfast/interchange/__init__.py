"""Other tools' result files in, completions out, and back; no torch. Every file is hostile."""
