"""The only door of `tuning` to TRL and PEFT. Both are imported inside functions: they cost 8 s."""
