"""Supervised fine-tuning through TRL's SFTTrainer."""
