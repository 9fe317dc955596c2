"""Reinforcement learning from a gated reward model, through TRL's GRPO and RLOO trainers."""
