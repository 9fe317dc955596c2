"""Records, configuration, errors, registries, seeds and the run store: what everything rests on."""
