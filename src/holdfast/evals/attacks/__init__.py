"""Attacks: a suite of harmful prompts, asked in ways that have broken refusals before.

An attack turns a suite into another suite, so that an attacked suite goes through the same frozen
plan, runner and gate as any other. What an adaptive attacker wrote against one model is kept and
replayed word for word on every arm, so that arms stay paired.
"""

from holdfast.evals.attacks.base import Attacked, AttackOptions, Try
from holdfast.evals.attacks.goals import GoalJudge
from holdfast.evals.attacks.registry import ATTACKS, make

__all__ = ["ATTACKS", "AttackOptions", "Attacked", "GoalJudge", "Try", "make"]
