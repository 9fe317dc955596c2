"""Suites: prompts of one kind, generated, from published files, or from a user's JSON Lines.

A suite is named by a *spec*: `harbor-harmful` (a suite of the embedded model), `tools` (one that
Holdfast writes), `harmbench:PATH` (a published file or folder; `hub:OWNER/REPO/FILE` in place of
the path, `#SHA256` behind it to accept another version), `oversight:SPEC` (another suite under
framings), or the path of a user's YAML, JSON Lines or CSV file.
"""

from holdfast.evals.suites.base import Choice, Prompt, Suite
from holdfast.evals.suites.loading import (
    CatalogueEntry,
    SuiteOptions,
    catalogue,
    load,
    load_all,
)

__all__ = [
    "CatalogueEntry",
    "Choice",
    "Prompt",
    "Suite",
    "SuiteOptions",
    "catalogue",
    "load",
    "load_all",
]
