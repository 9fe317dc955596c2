"""LLaMA-Factory under Holdfast: its YAML with a section `holdfast`, started through this module.

    python -m holdfast.integrations.llamafactory CONFIG.yaml [key=value …]
    torchrun --nproc-per-node 2 -m holdfast.integrations.llamafactory CONFIG.yaml

LLaMA-Factory's file cannot name a callback (its issue 8761) and refuses keys that it does not know.
So this launcher takes the section out, hands the rest to `run_exp` with our callback, and attests
what was saved. Whatever trains outside of a Trainer is refused before anything is loaded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from holdfast.core.errors import EnvironmentFault, UsageError
from holdfast.integrations.launching import launch
from holdfast.integrations.sealing import seal
from holdfast.integrations.section import KEY, Section, callback_of, read_section
from holdfast.vault import attest

METHODS = {"pt": "sft", "sft": "sft", "dpo": "dpo", "kto": "dpo", "rm": "reward"}
"""LLaMA-Factory's `stage` and the method whose rules apply."""
OTHER_LOOPS = (
    "use_mca", "use_megatron_bridge", "use_hyper_parallel", "use_kt", "use_ray", "use_unsloth",
    "galore_layerwise", "apollo_layerwise",
)  # fmt: skip
"""Settings under which a loop or an optimizer of their own steps past the callback's events; with
`use_unsloth` its trainer is rewritten, which is not tested."""


def split(config: Mapping[str, Any], *, source: str) -> tuple[Section, str, dict[str, Any]]:
    """Our section, the method that is trained, and what LLaMA-Factory shall read.

    Raises:
        UsageError: no section, or a training that the callback could not guard.
        ConfigError: the section has faults.
    """
    rest = dict(config)
    section = read_section(rest.pop(KEY, None), source=source)
    stage = str(rest.get("stage", "sft"))
    if stage not in METHODS:
        raise UsageError(
            f"Holdfast cannot guard 'stage: {stage}' of {source}",
            expected=f"one of {', '.join(METHODS)}: the others drive a loop of their own",
        )
    if foreign := [name for name in OTHER_LOOPS if rest.get(name)]:
        raise UsageError(
            f"'{foreign[0]}: {rest[foreign[0]]}' and section '{KEY}' of {source} disagree",
            expected="training in a transformers Trainer",
        )
    for name in ("model_name_or_path", "output_dir"):
        if not rest.get(name):
            raise UsageError(f"'{name}' is missing in {source}")
    return section, METHODS[stage], rest


def run(arguments: list[str]) -> Path:
    """Train as the file says, guarded; return the folder with weights and attestation."""
    if not arguments or arguments[0].startswith("-"):
        raise UsageError(
            "no configuration is named",
            expected="python -m holdfast.integrations.llamafactory CONFIG.yaml [key=value …]",
        )
    if not Path(arguments[0]).is_file():
        raise UsageError(f"{arguments[0]} does not exist")
    if os.environ.get("USE_V1", "").lower() in ("1", "true", "y", "on"):
        raise UsageError(
            "LLaMA-Factory's v1 trainer has no event around the optimizer's step",
            next_step="unset USE_V1",
        )
    try:
        from llamafactory.hparams import read_args
        from llamafactory.train.tuner import run_exp
    except ImportError as error:
        raise EnvironmentFault(
            f"LLaMA-Factory cannot be imported ({str(error)[:160]})",
            next_step="install it into this environment",
        ) from error
    sys.argv = [sys.argv[0], *arguments]  # where LLaMA-Factory looks, overrides included
    section, method, rest = split(read_args(), source=arguments[0])
    out = Path(rest["output_dir"])
    attest.clear(out)
    callback = callback_of(section, base=str(rest["model_name_or_path"]), method=method)
    run_exp(rest, callbacks=[callback])
    seal(out, callback, framework="llamafactory")
    return out


def main() -> None:
    """Entry point of the module."""
    launch(run)


if __name__ == "__main__":
    main()
