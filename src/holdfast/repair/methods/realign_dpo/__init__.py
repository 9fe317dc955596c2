"""Short re-alignment by DPO on the run's own failures."""
