"""Sparse autoencoders: read or train one, say how faithful it is, compare models, edit latents."""
