"""Short re-alignment by supervised fine-tuning on the run's own failures."""
