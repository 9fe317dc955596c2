"""The zoo: fine-tunes of harbor with known outcomes, built and read."""
