"""Where a model keeps its safety, and how far a fine-tune has moved it (design, section 5)."""
