"""Axolotl under Holdfast: a plugin that its YAML names, and a launcher that fails closed.

    plugins: [holdfast.integrations.axolotl.HoldfastPlugin]
    holdfast: {protect: replay_kl, buffer: safety.jsonl}

    axolotl train CONFIG.yml && holdfast attest OUTPUT_DIR
    python -m holdfast.integrations.axolotl CONFIG.yml          # the same in one

Axolotl prints and forgets the ImportError of a plugin, and ignores keys that it does not know, so
a plugin that cannot be loaded leaves an unguarded training that looks like any other. Only what
lies beside the weights afterwards shows the difference: the plugin attests them once they are
saved, and `holdfast attest` refuses weights without an attestation, or with that of others.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from holdfast.core.errors import EnvironmentFault, InvalidRun, UsageError
from holdfast.integrations.launching import launch
from holdfast.integrations.sealing import seal
from holdfast.integrations.section import KEY, Section, callback_of, read_section
from holdfast.vault import attest

if TYPE_CHECKING:
    from holdfast.tuning.callback import HoldfastCallback

try:
    from axolotl.integrations.base import BasePlugin
except ImportError as missing:
    # Axolotl would swallow this as an ImportError; ours is none.
    raise EnvironmentFault(
        f"Axolotl cannot be imported ({str(missing)[:160]})",
        next_step="install it into this environment",
    ) from missing

PLUGIN = "holdfast.integrations.axolotl.HoldfastPlugin"
METHODS = {"": "sft", "dpo": "dpo", "ipo": "dpo", "kto": "dpo", "grpo": "rlhf"}
"""Axolotl's `rl` and the method whose rules apply."""


class HoldfastArgs(BaseModel):
    """The key that the plugin adds to Axolotl's schema."""

    holdfast: dict[str, Any] | None = None
    """Our section; the plugin reads it more strictly."""


class HoldfastPlugin(BasePlugin):  # type: ignore[misc]  # Axolotl is untyped here
    """Gives the trainer our callback, and attests what Axolotl has saved."""

    def __init__(self) -> None:
        super().__init__()
        self.callback: HoldfastCallback | None = None
        self._section: Section | None = None
        self._method = ""

    def register(self, cfg: Any) -> None:
        """Check the section before anything is loaded, and drop an earlier attestation."""
        self._section, self._method = split(cfg)
        attest.clear(Path(cfg["output_dir"]))

    def get_input_args(self) -> str:
        """The class that adds our key to Axolotl's schema."""
        return "holdfast.integrations.axolotl.HoldfastArgs"

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        """The callback of the run."""
        if self._section is None:
            raise InvalidRun("Axolotl did not register the Holdfast plugin with its configuration")
        self.callback = callback_of(self._section, base=str(cfg.base_model), method=self._method)
        return [self.callback]

    def post_train_unload(self, cfg: Any) -> None:
        """Attest the saved weights, or end the run with an error.

        The only event that is sure to follow the save: Axolotl 0.19 calls `post_train` twice, the
        first time before it.
        """
        if self.callback is None:
            raise InvalidRun("Axolotl trained without asking the Holdfast plugin for its callback")
        seal(Path(cfg.output_dir), self.callback, framework="axolotl")


def split(config: Any) -> tuple[Section, str]:
    """Our section of Axolotl's configuration, and the method that is trained.

    Raises:
        UsageError: no section, or a training that the callback could not guard.
        ConfigError: the section has faults.
    """
    source = "the Axolotl configuration"
    value = config.get(KEY)
    section = read_section(None if value is None else _plain(value), source=source)
    if not config.get("output_dir"):
        raise UsageError(f"'output_dir' is missing in {source}")
    kind = str(config.get("rl") or "")
    if kind not in METHODS:
        raise UsageError(
            f"Holdfast cannot guard 'rl: {kind}' of {source}",
            expected=f"one of {', '.join(k for k in METHODS if k)}, or supervised fine-tuning",
        )
    return section, "reward" if config.get("reward_model") else METHODS[kind]


def _plain(value: Any) -> Any:
    """Axolotl's dictionaries answer every key; ours must be ordinary ones."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list) else value


def run(arguments: list[str]) -> Path:
    """Train as the file says, then verify the attestation; return the output folder."""
    if len(arguments) != 1 or not Path(arguments[0]).is_file():
        raise UsageError(
            "no configuration is named",
            expected="python -m holdfast.integrations.axolotl CONFIG.yml",
        )
    import yaml
    from axolotl.cli.train import do_cli

    config = yaml.safe_load(Path(arguments[0]).read_text("utf-8"))
    if PLUGIN not in (config.get("plugins") or []):
        raise UsageError(
            f"{arguments[0]} does not name the plugin", next_step=f"add plugins: [{PLUGIN}]"
        )
    split(config)
    sys.argv = sys.argv[:1]  # Axolotl reads its own arguments from there
    do_cli(config=arguments[0])
    out = Path(config["output_dir"])
    attest.verify(out)
    return out


def main() -> None:
    """Entry point of the module."""
    launch(run)


if __name__ == "__main__":
    main()
