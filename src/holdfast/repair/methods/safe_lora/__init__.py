"""Safe LoRA with a true projector."""
