"""Loading, templates, generation, activations, scores: the only place that knows architectures."""
