"""Direct preference optimisation through TRL's DPOTrainer."""
