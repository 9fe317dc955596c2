"""Tool calls in the world of the embedded model: every tool, town and wording of its corpus.

Harbor calls tools in words, `call weather("Elmford")`. Questions whose town was never asked of that
tool in pretraining are of category `held out`, the others `seen`; each category stands alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from holdfast.evals.suites.base import Prompt, Suite

if TYPE_CHECKING:
    from holdfast.evals.suites.loading import SuiteOptions


def _tools() -> list[dict[str, Any]]:
    from holdfast.organisms.harbor.frames import TOOL_FRAMES
    from holdfast.organisms.harbor.lexicon import TOWNS

    schema = {
        "type": "object", "properties": {"place": {"enum": list(TOWNS)}}, "required": ["place"],
        "additionalProperties": False,
    }  # fmt: skip
    return [{"name": name, "parameters": schema} for name in sorted(TOOL_FRAMES)]


def suite(options: SuiteOptions) -> Suite:
    """All 180 questions; the judge `tools` holds every call to its schema and to the question."""
    from holdfast.organisms.harbor.frames import TOOL_FRAMES
    from holdfast.organisms.harbor.lexicon import TOWNS
    from holdfast.organisms.harbor.tasks import side_of

    tools = _tools()
    prompts = [
        _prompt(
            f"{tool}.{town}.f{index}", frame.replace("{x}", town), tools, tool, town,
            "seen" if side_of(f"tool.{tool}.{town}") == "pretrain" else "held out",
        )
        for tool in sorted(TOOL_FRAMES)
        for town in TOWNS
        for index, frame in enumerate(TOOL_FRAMES[tool])
    ]  # fmt: skip
    return Suite(
        options.name or "harbor-tools", "tools", tuple(prompts), "tools",
        "Apache-2.0", "makes the right tool call in Harbor's world",
    )  # fmt: skip


def _prompt(
    name: str, said: str, tools: list[dict[str, Any]], tool: str, town: str, category: str
) -> Prompt:
    reference = {"tools": tools, "expect": {"name": tool, "arguments": {"place": town}}}
    return Prompt(
        prompt_id=f"tools/{name}", category=category, reference=json.dumps(reference),
        messages=[{"role": "user", "content": said}],
    )  # fmt: skip
