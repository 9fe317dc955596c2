"""Reward models through TRL's RewardTrainer, and the gate that each must pass before use."""
