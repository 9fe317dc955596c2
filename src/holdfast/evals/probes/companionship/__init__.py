"""Companionship: reinforcing against boundary replies to people who lean on the assistant."""
