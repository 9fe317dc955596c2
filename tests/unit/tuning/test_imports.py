from __future__ import annotations

import subprocess
import sys

MODULES = (
    "holdfast.tuning", "holdfast.tuning.monitor_config", "holdfast.tuning.methods.sft.config",
    "holdfast.tuning.protections.registry", "holdfast.tuning.protections.replay_kl.config",
    "holdfast.tuning.hf.trainer", "holdfast.tuning.hf.adapters",
)  # fmt: skip


def test_settings_and_the_door_import_no_torch():
    names = "('torch', 'trl', 'peft')"
    code = f"import sys, {', '.join(MODULES)}; print([m for m in {names} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
