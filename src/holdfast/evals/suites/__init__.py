"""Suites: prompts of one kind, from Harbor, from published CSV files, or from a user's JSON Lines.

A suite is named by a *spec*: `harbor-harmful` (a suite of the embedded model), `harmbench:PATH`
(a published file), or the path of a JSON Lines or CSV file.
"""

from holdfast.evals.suites.base import Prompt, Suite
from holdfast.evals.suites.loading import SuiteOptions, catalogue, load, load_all

__all__ = ["Prompt", "Suite", "SuiteOptions", "catalogue", "load", "load_all"]
