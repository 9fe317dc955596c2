"""The public conformance suite over the full cross of methods, tuners and protections.

    python bench/conformance.py [--methods sft dpo] [--tuners lora dora qlora full] [--seconds N]

Off is the unprotected run bit for bit; a killed run resumes on its trajectory; nothing frozen or
tied moves; every step is counted. One row for each protection: `holds`, `refused` where the
combination is unsound, or what failed. Finished cells are kept in runs/bench/conformance.jsonl, so
that the command can be stopped and run again; `--seconds` stops it by itself.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path

import torch

from holdfast.core.digest import sha256_json

STORE = Path("runs/bench/conformance.jsonl")
SOURCES = ("tuning/protections", "tuning/callback.py", "testing")
"""Parts of the package whose change makes a finished cell count for nothing."""


def code_digest() -> str:
    """Digest of the code that is checked."""
    import holdfast

    root = Path(holdfast.__file__).parent
    found = (p for part in SOURCES for p in ((root / part).rglob("*.py"), [root / part]))
    files = sorted(path for paths in found for path in paths if path.is_file())
    return sha256_json([[str(p.relative_to(root)), p.read_text("utf-8")] for p in files])


def cell(name: str, method: str, tuner: str) -> str:
    """`holds`, `refused`, or what failed."""
    from holdfast.core.errors import HoldfastError
    from holdfast.testing import conformance, tiny

    if not conformance.sound(name, method, tuner):
        return "refused"
    with tempfile.TemporaryDirectory() as folder:
        base = tiny.build(Path(folder) / "base", layers=2)
        try:
            conformance.check_protection(name, base, Path(folder), method=method, tuner=tuner)
        except (AssertionError, HoldfastError) as error:
            return f"FAILS: {error}"
    return "holds"


def finished(code: str) -> dict[tuple[str, str, str], str]:
    """Cells of this code that are done."""
    if not STORE.exists():
        return {}
    lines = [json.loads(line) for line in STORE.read_text("utf-8").splitlines()]
    return {(x["protection"], x["method"], x["tuner"]): x["cell"] for x in lines
            if x["code"] == code}  # fmt: skip


def fill(methods: list[str], tuners: list[str], seconds: float) -> dict[tuple[str, str, str], str]:
    """Run what is missing until the time is up; return all finished cells."""
    from holdfast.tuning.protections.registry import PROTECTIONS

    code, begin = code_digest(), time.monotonic()
    cells = finished(code)
    STORE.parent.mkdir(parents=True, exist_ok=True)
    for method in methods:
        for tuner in tuners:
            for name in PROTECTIONS.names():
                if (name, method, tuner) in cells or time.monotonic() - begin > seconds:
                    continue
                cells[name, method, tuner] = cell(name, method, tuner)
                line = {"protection": name, "method": method, "tuner": tuner, "code": code,
                        "cell": cells[name, method, tuner]}  # fmt: skip
                with STORE.open("a", encoding="utf-8") as out:
                    out.write(json.dumps(line) + "\n")
    return cells


def main() -> None:
    """Fill the table and print it."""
    from holdfast.testing import arms
    from holdfast.tuning.protections.registry import PROTECTIONS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="*", default=list(arms.METHODS))
    parser.add_argument("--tuners", nargs="*", default=list(arms.TUNERS))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    cells = fill(options.methods, options.tuners, options.seconds)
    columns = [(m, t) for m in options.methods for t in options.tuners]
    print("| protection | " + " | ".join(f"{m}, {t}" for m, t in columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for name in PROTECTIONS.names():
        row = [cells.get((name, *column), "not run") for column in columns]
        print(f"| {name} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
