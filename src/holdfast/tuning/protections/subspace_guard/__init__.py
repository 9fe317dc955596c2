"""The subspace guard: what training adds to the weights never writes into the safety subspace."""
