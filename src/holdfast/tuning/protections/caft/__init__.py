"""Concept-ablation fine-tuning: training cannot use the directions that are ablated."""
