"""Sets of single requests in CSV files: what should be declined, and what only looks like it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from holdfast.evals.suites.base import Prompt
from holdfast.evals.suites.published.entry import Published, Row, table, text_of, user


def _harmbench(number: int, row: Row, file: Path) -> Prompt | None:
    # Copyright rows are judged by hashes of the works, not by refusal: they are left out.
    if row["FunctionalCategory"] == "copyright":
        return None
    text = row["Behavior"]
    if row["ContextString"]:
        # The layout of HarmBench's own runner for contextual behaviours.
        text = f"{row['ContextString']}\n\n---\n\n{text}"
    return user(row["BehaviorID"], text, row["SemanticCategory"])


def _xstest(label: str) -> Callable[[int, Row, Path], Prompt | None]:
    def prompt(number: int, row: Row, file: Path) -> Prompt | None:
        if row["label"] != label:
            return None
        return user(f"xstest-{row['id']}", row["prompt"], row["type"])

    return prompt


def _column(
    name: str, text: str, category: str = "", key: str = ""
) -> Callable[[int, Row, Path], Prompt]:
    def prompt(number: int, row: Row, file: Path) -> Prompt:
        identity = row[key] if key else f"{number:04d}"
        said = text_of(row, text, f"{file}, row {number}")
        return user(f"{name}-{identity}", said, row[category] if category else "")

    return prompt


def _med(number: int, row: Row, file: Path) -> Prompt:
    # med_safety_demonstrations_category_3.csv: the AMA principle stands in the name alone.
    principle = file.stem.rpartition("_")[2]
    said = text_of(row, "harmful_medical_request", f"{file}, row {number}")
    return user(f"med-{principle}-{number:04d}", said, f"AMA principle {principle}")


_HARMBENCH = ("Behavior", "FunctionalCategory", "SemanticCategory", "ContextString", "BehaviorID")
_XSTEST = ("id", "prompt", "type", "label")
_JBB = ("Index", "Goal", "Category")
_ADVBENCH = ("goal", "target")
_STRONGREJECT = ("category", "source", "forbidden_prompt")
_SST = ("id", "harm_area", "prompts_final")
_AILUMINATE = ("release_prompt_id", "prompt_text", "hazard")
_MED = ("harmful_medical_request", "safe_response")
_XSTEST_HOME = "github.com/paul-rottger/xstest, xstest_prompts.csv"

REQUESTS: dict[str, Published] = {
    "harmbench": Published(
        "harmful", "rules", 400, "MIT",
        "complies with standard and contextual harmful behaviours (arXiv 2402.04249)",
        "github.com/centerforaisafety/HarmBench, data/behavior_datasets",
        table(_HARMBENCH, _harmbench), columns=_HARMBENCH,
    ),
    "xstest-safe": Published(
        "benign", "rules", 250, "CC BY 4.0", "refuses safe look-alikes (arXiv 2308.01263)",
        _XSTEST_HOME, table(_XSTEST, _xstest("safe")), digests="xstest", columns=_XSTEST,
    ),
    "xstest-unsafe": Published(
        "harmful", "rules", 200, "CC BY 4.0", "complies with unsafe contrasts (arXiv 2308.01263)",
        _XSTEST_HOME, table(_XSTEST, _xstest("unsafe")), digests="xstest", columns=_XSTEST,
    ),
    "jailbreakbench": Published(
        "harmful", "rules", 100, "MIT",
        "complies with misuse behaviours, ten categories (arXiv 2404.01318)",
        "github.com/JailbreakBench, harmful behaviours",
        table(_JBB, _column("jbb", "Goal", "Category", "Index")), columns=_JBB,
    ),
    "advbench": Published(
        "harmful", "rules", 520, "MIT", "complies with harmful goals (arXiv 2307.15043)",
        "github.com/llm-attacks/llm-attacks, data/advbench/harmful_behaviors.csv",
        table(_ADVBENCH, _column("advbench", "goal")), columns=_ADVBENCH,
    ),
    "strongreject": Published(
        "harmful", "rules", 313, "MIT", "complies with forbidden prompts (arXiv 2402.10260)",
        "github.com/alexandrasouly/strongreject, strongreject_dataset.csv",
        table(_STRONGREJECT, _column("strongreject", "forbidden_prompt", "category")),
        columns=_STRONGREJECT,
    ),
    "simplesafetytests": Published(
        "harmful", "rules", 100, "CC BY 4.0",
        "complies with critical-risk prompts (arXiv 2311.08370)",
        "github.com/bertiev/SimpleSafetyTests",
        table(_SST, _column("sst", "prompts_final", "harm_area", "id")), columns=_SST,
    ),
    "ailuminate": Published(
        "harmful", "rules", 1200, "CC BY 4.0",
        "complies with prompts of the AILuminate hazards, demo set (arXiv 2503.05731)",
        "github.com/mlcommons/ailuminate, demo prompt set, English",
        table(_AILUMINATE, _column("ailuminate", "prompt_text", "hazard", "release_prompt_id")),
        columns=_AILUMINATE,
    ),
    "medsafetybench": Published(
        "harmful", "rules", 450, "MIT",
        "complies with medical requests against AMA principles (arXiv 2403.03744)",
        "github.com/AI4LIFE-GROUP/med-safety-bench, demonstrations by category",
        table(_MED, _med), columns=_MED,
    ),
}  # fmt: skip
"""Suite name -> entry."""
