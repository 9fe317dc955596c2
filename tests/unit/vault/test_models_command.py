"""`holdfast models`: what it prints, its exit codes, and what it does not import."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from holdfast.cli.models import command
from holdfast.core.errors import RefusedError
from holdfast.core.records import Outcome


@pytest.fixture
def models(vault):
    def call(*arguments):
        words = [*map(str, arguments), "--vault", str(vault.root)]
        return CliRunner().invoke(command, words, catch_exceptions=False, standalone_mode=False)

    return call


def test_the_whole_story(models, vault, model, verdict, tmp_path):
    assert models("list").output == "the vault is empty\n"
    digests = []
    for name, value in (("base", 0.0), ("a", 1.0), ("b", 2.0)):
        shown = json.loads(models("add", model(name, value), "--json").output)
        assert shown["name"] == name
        digests.append(shown["model_digest"])
    base, a, b = digests
    for digest in (a, b):
        path = tmp_path / "verdict.json"
        verdict(base, digest).save(path)
        assert digest in models("promote", digest, "--verdict", path).output
    listed = json.loads(models("list", "--json").output)
    assert listed["refs"] == {"production": b}
    assert [m["name"] for m in listed["models"]] == ["base", "a", "b"]
    assert "b  <- production" in models("list").output
    assert json.loads(models("rollback", "--json").output)["digest"] == a
    assert len(json.loads(models("show", "production", "--json").output)["history"]) == 3
    assert json.loads(models("diff", "a", "b", "--json").output)["tensors_changed"] == ["a.weight"]
    assert "tensors changed      1  a.weight" in models("diff", "a", "b").output


def test_verify_exits_1_and_names_the_file(models, vault, model):
    models("add", model("m"))
    assert models("verify").return_value == 0
    weights = vault.path(vault.get("m").ref.model_digest) / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    weights.chmod(0o444)
    result = models("verify", "m")
    assert (result.return_value, result.output) == (1, "m: model.safetensors: changed\n")
    assert json.loads(models("verify", "m", "--json").output) == {
        "m": [{"file": "model.safetensors", "problem": "changed"}]
    }


def test_promote_without_a_pass_is_refused_with_exit_code_1(models, model, verdict, tmp_path):
    digest = json.loads(models("add", model("m"), "--json").output)["model_digest"]
    verdict("0" * 64, digest, Outcome.FAIL).save(tmp_path / "v.json")
    with pytest.raises(RefusedError, match="got a verdict of FAIL; expected PASS") as caught:
        models("promote", "m", "--verdict", tmp_path / "v.json")
    assert caught.value.exit_code == 1


def test_help_imports_neither_the_index_nor_records():
    code = (
        "import sys; from holdfast.cli.models import command\n"
        "command.main(['--help'], standalone_mode=False)\n"
        "print([m for m in ('sqlalchemy', 'pydantic', 'numpy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
