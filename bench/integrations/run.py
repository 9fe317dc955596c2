"""Every framework that Holdfast goes with, the real package, on harbor: `make integrations`.

    python bench/integrations/run.py [NAME …] [--envs .venv/integrations] [--table]

Names: trl, trl-4.55, ddp, llamafactory, axolotl, unsloth. Each runs in an environment of its own,
leaves weights with an attestation in runs/integrations/NAME, and is measured from here. One row a
run in runs/integrations/results.jsonl; a row that is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from setting import ROWS, SET, measured, prepare

HERE = Path(__file__).resolve().parent
WORK = Path("runs/integrations").resolve()
LAUNCH = [
    "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines",
    "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "29577",
]  # fmt: skip
RUNS: dict[str, tuple[str, list[str]]] = {
    "trl": ("", [str(HERE / "trl_script.py"), str(WORK)]),
    "trl-4.55": ("old", [str(HERE / "trl_script.py"), str(WORK)]),
    "ddp": ("", [*LAUNCH, str(HERE / "trl_script.py"), str(WORK)]),
    "llamafactory": ("llamafactory", ["-m", "holdfast.integrations.llamafactory",
                                      str(WORK / "llamafactory.yaml")]),
    "axolotl": ("axolotl", ["-m", "holdfast.integrations.axolotl", str(WORK / "axolotl.yml")]),
    "unsloth": ("unsloth", [str(HERE / "unsloth_script.py"), str(WORK)]),
    "unguarded": ("", [str(HERE / "trl_script.py"), str(WORK)]),
}  # fmt: skip
"""Name -> environment ("" for this one) and command; scripts are told the folder for the result."""


def train(name: str, envs: Path) -> float:
    """Run one framework; return the seconds it took."""
    env, command = RUNS[name]
    python = str(envs.resolve() / env / "bin" / "python") if env else sys.executable
    call = [python, *command]
    if command[-1] == str(WORK):
        call.append(str(WORK / name))
    if name == "unguarded":
        call.append("--unguarded")
    begin = time.monotonic()
    places = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1",
              "AXOLOTL_DO_NOT_TRACK": "1"}  # fmt: skip
    with (WORK / f"{name}.log").open("w", encoding="utf-8") as log:
        subprocess.run(call, cwd=WORK, env=places, stdout=log, stderr=log, check=True)
    return time.monotonic() - begin


def row_of(name: str) -> dict[str, Any]:
    """What the attestation says, and what the weights do."""
    from holdfast.core.errors import RefusedError
    from holdfast.vault import attest

    row: dict[str, Any] = {"run": name, **measured(WORK, None if name == "base" else WORK / name)}
    if name == "base":
        return row
    try:
        record = attest.verify(WORK / name)
    except RefusedError as error:
        return {**row, "attested": False, "why": error.what}
    return {
        **row, "attested": True, "framework": record.framework, "steps": record.steps,
        "environment": record.environment, "watched": record.watched,
        "guarded": {r.name: [r.guarded, r.due] for r in record.protections},
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> None:
    """The table of docs/results/integrations.md."""
    print("| run | framework | transformers, TRL, PEFT | steps | replay_kl | guard | looks "
          "| attested | leak | refusal | over-refusal | task |")  # fmt: skip
    print("|---" * 12 + "|")
    for r in rows:
        guarded = r.get("guarded", {})
        counts = [" of ".join(map(str, guarded[n])) if n in guarded else "–"
                  for n in ("replay_kl", "subspace_guard")]  # fmt: skip
        found = r.get("environment", {})
        versions = ", ".join(found.get(n, "–") for n in ("transformers", "trl", "peft"))
        leak = f"{r['leak']:.1e}" if "leak" in r else "–"
        rates = " | ".join(f"{r[n] / r['of']:.3f}" for n in ("refusals", "over_refusals", "task"))
        print(f"| {r['run']} | {r.get('framework', '–')} | {versions if found else '–'} "
              f"| {r.get('steps', '–')} | {' | '.join(counts)} | {r.get('watched', '–')} "
            f"| {r.get('attested', '–')} "
              f"| {leak} | {rates} |")  # fmt: skip


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=["base", *RUNS])
    parser.add_argument("--envs", type=Path, default=Path(".venv/integrations"))
    parser.add_argument("--table", action="store_true", help="only print what is there")
    options = parser.parse_args()
    store = WORK / "results.jsonl"
    rows = [json.loads(line) for line in store.read_text("utf-8").splitlines()] if (
        store.is_file()) else []  # fmt: skip
    if not options.table:
        prepare(WORK)
    for name in options.names:
        if options.table or name in {r["run"] for r in rows}:
            continue
        if name != "base" and not (WORK / name / "adapter_model.safetensors").is_file():
            print(f"{name}: {ROWS} rows of {SET}, log in {WORK / name}.log", flush=True)
            train(name, options.envs)
        rows.append(row_of(name))
        with store.open("a", encoding="utf-8") as out:
            out.write(json.dumps(rows[-1]) + "\n")
    table(rows)


if __name__ == "__main__":
    main()
