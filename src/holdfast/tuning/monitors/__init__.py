"""What can be watched in training: streams, and the monitor that is combined from them."""
