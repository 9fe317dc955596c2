"""The command line: one file per command, imported only when that command runs."""

from __future__ import annotations

import importlib
import os
import sys

import click

from holdfast import __version__
from holdfast.core.errors import EXIT_ENVIRONMENT, HoldfastError

EXIT_INTERRUPTED = 130
"""The shell's convention for a program ended by Ctrl-C."""

COMMANDS: dict[str, tuple[str, str]] = {
    "quickstart": ("holdfast.cli.quickstart", "The whole story on the embedded model."),
    "init": ("holdfast.cli.init", "Write a commented plan to start from."),
    "run": ("holdfast.cli.run", "Run a plan: map, fine-tune, evaluate, gate, report."),
    "repair": ("holdfast.cli.repair", "Bring a failed run back, cheapest step first."),
    "tune": ("holdfast.cli.tune", "Train only, or search the lowest rank that does the task."),
    "status": ("holdfast.cli.status", "Show how far a run has come."),
    "report": ("holdfast.cli.report", "Write the report of a run and show its summary."),
    "models": ("holdfast.cli.models", "Seal, verify, compare, promote and roll back models."),
    "audit": ("holdfast.cli.audit", "Read training rows before anything is trained on them."),
    "forecast": ("holdfast.cli.forecast", "Say what a plan will do to safety, before training."),
    "map": ("holdfast.cli.map", "Map where a base model keeps its safety."),
    "drift": ("holdfast.cli.drift", "Measure how far a fine-tune has drifted from its base."),
    "sae": ("holdfast.cli.sae", "Sparse autoencoders: train, check, compare, edit."),
    "suites": ("holdfast.cli.suites", "List the evaluation suites."),
    "eval": ("holdfast.cli.eval", "Evaluate one model on suites."),
    "attack": ("holdfast.cli.attack", "Ask harmful goals as jailbreaks, ladders and mutations."),
    "triggers": ("holdfast.cli.triggers", "Sweep a thousand phrases for a hidden trigger."),
    "behaviour": ("holdfast.cli.behaviour", "Read oversight, sycophancy, tools and more."),
    "judge": ("holdfast.cli.judge", "Label answers, and measure how well a judge labels."),
    "convert": ("holdfast.cli.convert", "Read other tools' results; write theirs from ours."),
    "compare": ("holdfast.cli.compare", "Compare two arms on the same prompts."),
    "gate": ("holdfast.cli.gate", "Decide: PASS, FAIL, INCONCLUSIVE or INVALID."),
    "attest": ("holdfast.cli.attest", "Check that another framework's run was guarded."),
    "power": ("holdfast.cli.power", "Plan how many prompts a margin needs."),
    "bench": ("holdfast.cli.bench", "Compare methods and defences on the embedded model."),
    "organism": ("holdfast.cli.organism", "List, build and export the embedded models."),
    "doctor": ("holdfast.cli.doctor", "Show versions, devices and what is missing."),
}
"""Name -> module that exports `command`, and the line that `--help` shows without importing it."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only to run it or show its help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the story, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of `cmd_name` and return its command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command = module.command
        if not isinstance(command, click.Command):  # pragma: no cover - a programming error
            raise TypeError(f"{module.__name__}.command is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from their one-line descriptions; nothing is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    help="Fine-tune language models without losing the safety that they came with, "
    "and prove it.\n\n"
    "Exit codes: 0 pass or done, 1 fail, 2 usage, 3 inconclusive, 4 environment or invalid run.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="holdfast")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """The root command."""
    ctx.obj = {"debug": debug}


def main(argv: list[str] | None = None) -> None:
    """Entry point: run a command and turn every known error into one sentence and an exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    debug = "--debug" in arguments or os.environ.get("HOLDFAST_DEBUG") == "1"
    try:
        code = _invoke(arguments)
    except HoldfastError as error:
        if debug:
            raise
        _say(str(error))
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _say("stopped; finished work is kept, and the same command continues from there.")
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.exit(0)
    except MemoryError:
        _say("out of memory; lower the batch size and run the same command again.")
        sys.exit(EXIT_ENVIRONMENT)
    except ModuleNotFoundError as error:
        if debug or (error.name or "").startswith("holdfast"):
            raise
        _say(f"the package '{error.name}' is missing; run: pip install 'holdfast[train]'.")
        sys.exit(EXIT_ENVIRONMENT)
    sys.exit(code if isinstance(code, int) else 0)


def _invoke(arguments: list[str]) -> object:
    """Run the command. Ctrl-C stays Ctrl-C where it fell within one of our serializers: pydantic
    makes an error of its own of it, and does not always name the cause.
    """
    try:
        return cli.main(args=arguments, prog_name="holdfast", standalone_mode=False)
    except Exception as error:
        serializing = type(error).__name__ == "PydanticSerializationError"
        if serializing and KeyboardInterrupt.__name__ in str(error):
            raise KeyboardInterrupt from error
        raise


def _say(sentence: str) -> None:
    click.echo(f"holdfast: {sentence}", err=True)


if __name__ == "__main__":
    main()
