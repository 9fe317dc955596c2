"""An exponential average of the weights over training, delivered in place of the last ones."""
