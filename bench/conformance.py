"""The public conformance suite over the full cross of methods, tuners and protections.

    python bench/conformance.py [--methods sft dpo] [--tuners lora dora qlora full]

Off is the unprotected run bit for bit; a killed run resumes on its trajectory; nothing frozen or
tied moves; every step is counted. One line for each combination, `refused` where it is unsound.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

import torch


def main() -> None:
    """Print the table."""
    from holdfast.testing import arms, conformance, tiny
    from holdfast.tuning.protections.registry import PROTECTIONS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="*", default=list(arms.METHODS))
    parser.add_argument("--tuners", nargs="*", default=list(arms.TUNERS))
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    print("| protection | " + " | ".join(
        f"{m}, {t}" for m in options.methods for t in options.tuners) + " |")  # fmt: skip
    print("|---" * (1 + len(options.methods) * len(options.tuners)) + "|")
    for name in PROTECTIONS.names():
        cells = []
        for method in options.methods:
            for tuner in options.tuners:
                cell = "refused"
                if conformance.sound(name, method, tuner):
                    cell = "holds"
                    with tempfile.TemporaryDirectory() as folder:
                        base = tiny.build(Path(folder) / "base", layers=2)
                        try:
                            conformance.check_protection(
                                name, base, Path(folder), method=method, tuner=tuner
                            )
                        except AssertionError as error:
                            cell = f"FAILS: {error}"
                cells.append(cell)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
