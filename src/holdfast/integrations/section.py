"""The `holdfast:` section of another framework's configuration, and the callback made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.config import Config, parse
from holdfast.core.errors import ConfigError, UsageError
from holdfast.geometry.fitted import FittedMap
from holdfast.geometry.probe import ProbeSet
from holdfast.models.loading import resolve
from holdfast.pipeline.prepare import read_buffer, read_openings, read_sae
from holdfast.pipeline.protect import ProtectSection
from holdfast.tuning.callback import HoldfastCallback
from holdfast.tuning.monitor import AlarmRule, Monitor
from holdfast.tuning.monitor_config import MonitorConfig
from holdfast.tuning.protections.base import Materials
from holdfast.tuning.protections.rules import Setting, faults
from holdfast.tuning.protections.stack import make
from holdfast.vault.manifest import describe_model

KEY = "holdfast"
"""Name of the section."""


class Section(Config):
    """What Holdfast is told in another framework's file. Paths are relative to where it starts."""

    protect: ProtectSection = ProtectSection.model_validate({})
    """As in a plan: a name, or `method` with `options`; see docs/protections.md."""
    map: str = ""
    """Folder of the base's safety map (`holdfast map`): for the monitor and for the protections
    that act on its subspaces."""
    sae: str = ""
    """SAE of the base whose harmful latents the monitor watches: its file or folder, or `harbor`;
    it needs `map`."""
    buffer: str = ""
    """Harmful prompts of the safety buffer: a suite spec, JSON Lines, or `harbor`."""
    openings: str = "default"
    """First words of refusals and compliance: `default`, `harbor`, or a JSON file."""
    monitor: MonitorConfig = MonitorConfig()
    """When the monitor looks and what an alarm does; it needs `map`."""
    seed: int = 0
    """Seed of what Holdfast draws."""


def read_section(value: Any, *, source: str) -> Section:
    """The section, checked.

    Args:
        value: what the framework's file holds under `holdfast`.
        source: name of that file, for messages.

    Raises:
        UsageError: there is none.
        ConfigError: it has faults; all of them are listed.
    """
    if value is None:
        raise UsageError(
            f"{source} has no section '{KEY}'",
            expected=f"{KEY}: {{protect: replay_kl, buffer: FILE}}",
            next_step="add one, or start the framework without Holdfast",
        )
    section = parse(Section, value, source=f"section '{KEY}' of {source}")
    found = []
    if section.protect.buffer and not section.buffer:
        found.append(f"'protect: {', '.join(section.protect.method)}' needs 'buffer'")
    if "auto" in section.protect.method and not section.map:
        found.append("'protect: auto' needs 'map', whose prompts it watches")
    if section.monitor != MonitorConfig() and not section.map:
        found.append("'monitor' needs 'map', whose prompts it watches")
    if section.sae and not section.map:
        found.append("'sae' needs 'map', whose prompts tell which latents are harmful")
    if found:
        raise ConfigError(f"section '{KEY}' of {source}", found)
    return section


def callback_of(section: Section, *, base: str, method: str = "sft") -> HoldfastCallback:
    """The callback that the section describes.

    Args:
        section: the checked section.
        base: folder or hub name of the model that is trained, as the framework's file names it.
        method: `sft`, `dpo`, `reward` or `rlhf`; frameworks with arguments of their own do not say
            it in a way that the callback could read.

    Raises:
        UsageError: an unsound combination, or a map of another base.
    """
    if found := faults(section.protect.method, Setting(method=method), line=f"{KEY}.protect"):
        raise UsageError(f"this training cannot be protected so: {'; '.join(found)}")
    fitted = FittedMap.load(Path(section.map)) if section.map else None
    if fitted is not None:
        _same_base(fitted, base)
    prompts = read_buffer(section.buffer, section.protect.prompts, seed=section.seed)
    watch = section.monitor
    return HoldfastCallback(
        protection=make(section.protect.specs, Materials(prompts, fitted)),
        monitor=_monitor(section, fitted) if fitted is not None else None,
        every=watch.every, dense=watch.dense, budget=watch.budget, on_alarm=watch.on_alarm,
    )  # fmt: skip


def _monitor(section: Section, fitted: FittedMap) -> Monitor:
    watch = section.monitor
    probe = ProbeSet.pick(fitted, seed=section.seed, harmful=watch.probes, harmless=watch.probes)
    rule = AlarmRule(watch.rise, watch.min_prompts)
    return Monitor.of(
        probe, read_openings(section.openings), fitted, rule=rule, sae=read_sae(section.sae)
    )


def _same_base(fitted: FittedMap, base: str) -> None:
    digest = describe_model(resolve(base)).model_digest
    if digest != fitted.record.base:
        raise UsageError(
            "the safety map belongs to another base model",
            got=f"a map of {fitted.record.base[:12]} for a training of {digest[:12]}",
            next_step="fit one on this base: holdfast map",
        )
