"""Repair after training: bring a fine-tune that failed its gate back, cheapest step first."""
