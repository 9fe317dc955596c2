"""Content-addressed models: sealed bases, lineage, named refs, promotion and rollback."""
