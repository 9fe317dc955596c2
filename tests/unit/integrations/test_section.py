"""The `holdfast:` section: what it refuses, and the callback that it makes."""

from __future__ import annotations

import pytest

from holdfast.core.errors import ConfigError, UsageError
from holdfast.integrations.section import callback_of, read_section
from holdfast.testing import tiny


def test_an_absent_section_is_an_error_not_an_unguarded_run():
    with pytest.raises(UsageError, match="has no section 'holdfast'"):
        read_section(None, source="x.yaml")


def test_all_faults_are_listed_with_the_nearest_key():
    value = {"protects": "replay_kl", "monitor": {"evry": 3}}
    with pytest.raises(ConfigError) as raised:
        read_section(value, source="x.yaml")
    assert len(raised.value.faults) == 2
    assert "protect" in str(raised.value)
    assert "x.yaml" in str(raised.value)


@pytest.mark.parametrize(
    ("value", "needed"),
    [
        ({"protect": "replay_kl"}, "'buffer'"),
        ({"protect": "auto", "buffer": "harbor"}, "'map'"),
        ({"protect": "frozen_layers", "monitor": {"on_alarm": "stop"}}, "'map'"),
        ({"protect": "frozen_layers", "sae": "harbor"}, "'sae' needs 'map'"),
        (["replay_kl"], "not a mapping"),
    ],
)
def test_what_is_needed_is_named(value, needed):
    with pytest.raises(ConfigError, match=needed):
        read_section(value, source="x.yaml")


def test_the_callback_is_the_one_that_is_described(base, mapped, buffer):
    value = {
        "protect": {"method": ["replay_kl", "subspace_guard"],
                    "options": {"replay_kl": {"weight": 0.5, "buffer": 4}}},
        "map": str(mapped), "buffer": str(buffer), "monitor": {"every": 7, "probes": 2},
    }  # fmt: skip
    callback = callback_of(read_section(value, source="x.yaml"), base=str(base))
    replay, guard = callback.protection.parts
    assert (replay.name, replay.weight, replay.config.buffer) == ("replay_kl", 0.5, 4)
    assert guard.name == "subspace_guard"
    assert callback.schedule.every == 7
    assert len(callback.monitor.harmful) == 2


def test_without_a_map_nothing_is_watched(base, buffer):
    section = read_section({"protect": "replay_kl", "buffer": str(buffer)}, source="x")
    callback = callback_of(section, base=str(base))
    assert callback.monitor is None
    assert callback.protection.name == "replay_kl"


def test_a_map_of_another_base_is_refused(mapped, buffer, tmp_path):
    other = tiny.build(tmp_path / "other", layers=2, seed=5)
    value = {"protect": "replay_kl", "buffer": str(buffer), "map": str(mapped)}
    section = read_section(value, source="x")
    with pytest.raises(UsageError, match="another base"):
        callback_of(section, base=str(other))


@pytest.mark.parametrize("method", ["dpo", "reward", "rlhf"])
def test_an_unsound_combination_is_refused_before_anything_is_loaded(method):
    section = read_section({"protect": "constrained"}, source="x")
    with pytest.raises(UsageError, match="disagree"):
        callback_of(section, base="nowhere", method=method)
