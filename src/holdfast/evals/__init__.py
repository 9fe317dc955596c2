"""Evaluation: suites, one frozen prompt plan for all arms, a resumable runner, judges. No torch."""
