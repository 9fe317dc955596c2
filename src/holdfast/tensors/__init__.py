"""Pure tensor functions: projections, principal angles, Gram matrices, separation."""
