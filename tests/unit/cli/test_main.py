"""The command line as a whole: what it loads, what it says, how it ends."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from pydantic import BaseModel, model_serializer

from holdfast.cli import main as cli
from holdfast.core.errors import HoldfastError, IntegrityError, InvalidRun, UsageError

HEAVY = ("torch", "transformers", "numpy", "scipy", "pydantic", "rich", "sqlalchemy", "matplotlib")


def loaded_by(statement: str) -> set[str]:
    """Which heavy packages a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport sys\nprint(*sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import holdfast") == set()


def test_help_loads_nothing_heavy() -> None:
    statement = (
        "from holdfast.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0"
    )
    assert loaded_by(statement) == set()


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_is_there(name: str) -> None:
    context = click.Context(cli.cli)
    command = cli.cli.get_command(context, name)
    assert command is not None
    assert command.name == name


def test_no_command_loads_torch_before_it_runs() -> None:
    modules = ", ".join(module for module, _ in cli.COMMANDS.values())
    assert not loaded_by(f"import {modules}") & {"torch", "transformers", "numpy", "sqlalchemy"}


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("a"), 2), (IntegrityError("a"), 1), (InvalidRun("a"), 4), (HoldfastError("a"), 4)],
)
def test_a_known_error_is_one_sentence_and_its_exit_code(
    error: HoldfastError,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli.cli, "main", fail)
    with pytest.raises(SystemExit) as end:
        cli.main(["doctor"])
    assert end.value.code == code
    assert capsys.readouterr().err == "holdfast: a.\n"


def test_interruption_says_that_work_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.cli, "main", interrupt)
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "plan.yaml"])
    assert end.value.code == cli.EXIT_INTERRUPTED
    assert "same command continues" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["model_dump", "model_dump_json"])
def test_an_interruption_within_a_serializer_is_still_one(
    how: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(BaseModel):
        @model_serializer
        def _serialized(self) -> dict[str, str]:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli.cli, "main", lambda **_: getattr(Interrupted(), how)())
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "plan.yaml"])
    assert end.value.code == cli.EXIT_INTERRUPTED
    assert "same command continues" in capsys.readouterr().err


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["quickstat"])
    assert end.value.code == 2
    assert "quickstat" in capsys.readouterr().err
