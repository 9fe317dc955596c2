"""Fine-tuning with a monitor and a protection; everything of ours acts through one callback."""
