"""Instruction-following and style: what fine-tuning spoils first, as an early warning."""
