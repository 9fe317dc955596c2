"""Our side of LLaMA-Factory and Axolotl, without them; `make integrations` runs the real ones."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest

from holdfast.core.errors import ConfigError, EnvironmentFault, InvalidRun, UsageError
from holdfast.integrations import llamafactory
from holdfast.vault import attest

OURS = {"protect": "replay_kl", "buffer": "harbor"}
THEIRS = {"model_name_or_path": "base", "output_dir": "out", "stage": "sft", "lora_rank": 8}


def test_the_section_is_taken_out_and_the_rest_is_untouched():
    section, method, rest = llamafactory.split({**THEIRS, "holdfast": OURS}, source="x.yaml")
    assert section.protect.method == ("replay_kl",)
    assert method == "sft"
    assert rest == THEIRS


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"holdfast": None}, "no section"),
        ({"stage": "ppo"}, "'stage: ppo'"),
        ({"use_mca": True}, "'use_mca: True'"),
        ({"use_ray": True}, "'use_ray: True'"),
        ({"output_dir": ""}, "'output_dir' is missing"),
        ({"model_name_or_path": None}, "'model_name_or_path' is missing"),
    ],
)
def test_what_it_cannot_guard_is_refused(changed, message):
    with pytest.raises(UsageError, match=message):
        llamafactory.split({**THEIRS, "holdfast": OURS, **changed}, source="x.yaml")


def test_faults_of_the_section_are_listed():
    config = {**THEIRS, "holdfast": {**OURS, "bufer": "x"}}
    with pytest.raises(ConfigError, match="buffer"):
        llamafactory.split(config, source="x.yaml")


def test_without_a_file_or_the_package_it_says_so(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="no configuration"):
        llamafactory.run([])
    with pytest.raises(UsageError, match="does not exist"):
        llamafactory.run([str(tmp_path / "none.yaml")])
    path = tmp_path / "x.yaml"
    path.write_text("stage: sft", "utf-8")
    monkeypatch.setenv("USE_V1", "1")
    with pytest.raises(UsageError, match="v1"):
        llamafactory.run([str(path)])
    monkeypatch.delenv("USE_V1")
    monkeypatch.setitem(sys.modules, "llamafactory", None)
    with pytest.raises(EnvironmentFault, match="cannot be imported"):
        llamafactory.run([str(path)])


@pytest.fixture
def axolotl(monkeypatch):
    """Our module over a stand-in for the base class of Axolotl's plugins."""
    base = ModuleType("axolotl.integrations.base")
    base.BasePlugin = object
    for name in ("axolotl", "axolotl.integrations"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "axolotl.integrations.base", base)
    monkeypatch.delitem(sys.modules, "holdfast.integrations.axolotl", raising=False)
    yield importlib.import_module("holdfast.integrations.axolotl")
    sys.modules.pop("holdfast.integrations.axolotl", None)


def test_a_missing_axolotl_is_no_import_error_that_axolotl_would_swallow(monkeypatch):
    monkeypatch.setitem(sys.modules, "axolotl", None)
    monkeypatch.delitem(sys.modules, "holdfast.integrations.axolotl", raising=False)
    with pytest.raises(EnvironmentFault, match="cannot be imported"):
        importlib.import_module("holdfast.integrations.axolotl")


def test_registering_checks_the_section_and_drops_an_old_attestation(axolotl, tmp_path):
    (tmp_path / attest.FILE).write_text("{}", "utf-8")
    plugin = axolotl.HoldfastPlugin()
    plugin.register({"output_dir": str(tmp_path), "holdfast": OURS})
    assert not (tmp_path / attest.FILE).exists()
    with pytest.raises(ConfigError):
        axolotl.HoldfastPlugin().register({"output_dir": "o", "holdfast": {"protect": "x"}})


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"holdfast": None}, "no section"), ({"rl": "orpo"}, "'rl: orpo'"),
     ({"output_dir": None}, "'output_dir' is missing")],
)  # fmt: skip
def test_axolotl_is_refused_what_cannot_be_guarded(axolotl, changed, message):
    with pytest.raises(UsageError, match=message):
        axolotl.split({"output_dir": "o", "holdfast": OURS, **changed})


@pytest.mark.parametrize(
    ("changed", "method"),
    [({}, "sft"), ({"rl": "kto"}, "dpo"), ({"rl": "grpo"}, "rlhf"),
     ({"reward_model": True}, "reward")],
)  # fmt: skip
def test_the_method_is_read_where_axolotl_says_it(axolotl, changed, method):
    assert axolotl.split({"output_dir": "o", "holdfast": OURS, **changed})[1] == method


def test_a_plugin_that_was_not_asked_ends_the_run(axolotl, tmp_path):
    plugin = axolotl.HoldfastPlugin()
    with pytest.raises(InvalidRun, match="did not register"):
        plugin.add_callbacks_post_trainer(SimpleNamespace(base_model="b"), None)
    with pytest.raises(InvalidRun, match="without asking"):
        plugin.post_train_unload(SimpleNamespace(output_dir=str(tmp_path)))


def test_the_launcher_demands_the_plugin_by_name(axolotl, tmp_path, monkeypatch):
    for name in ("axolotl.cli", "axolotl.cli.train"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["axolotl.cli.train"].do_cli = None
    path = tmp_path / "x.yml"
    path.write_text("plugins: [another.Plugin]", "utf-8")
    with pytest.raises(UsageError, match="does not name the plugin"):
        axolotl.run([str(path)])
    with pytest.raises(UsageError, match="no configuration"):
        axolotl.run([])
