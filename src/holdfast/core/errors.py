"""The error tree: every error says what happened, what was got and expected, what to do next.

HoldfastError
├── UsageError          2   the command or the plan is wrong
│   ├── ConfigError     2   a YAML file has unknown keys or bad values (all faults listed)
│   └── DataError       2   a data set cannot be used as it is
├── IntegrityError      1   a seal, a digest or a journal does not match its content
├── RefusedError        1   an action that is not allowed, such as promoting what did not pass
├── EnvironmentFault    4   disk, memory, missing package
└── InvalidRun          4   a run whose result cannot be trusted (a guard that did not run, NaN)
"""

from __future__ import annotations

EXIT_PASS, EXIT_FAIL, EXIT_USAGE, EXIT_INCONCLUSIVE, EXIT_ENVIRONMENT = 0, 1, 2, 3, 4


class HoldfastError(Exception):
    """Base of every error that a user may see; printed as one sentence, without a traceback."""

    exit_code = EXIT_ENVIRONMENT

    def __init__(
        self, what: str, *, got: str = "", expected: str = "", next_step: str = ""
    ) -> None:
        self.what, self.got, self.expected, self.next_step = what, got, expected, next_step
        parts = [what.rstrip(".")]
        if got:
            parts.append(f"got {got}")
        if expected:
            parts.append(f"expected {expected}")
        if next_step:
            parts.append(next_step.rstrip("."))
        super().__init__("; ".join(parts) + ".")


class UsageError(HoldfastError):
    """The command line or the plan asks for something that does not exist or does not fit."""

    exit_code = EXIT_USAGE


class ConfigError(UsageError):
    """A configuration file has faults; `faults` lists every one of them."""

    def __init__(self, source: str, faults: list[str]) -> None:
        self.faults = faults
        listed = "\n".join(f"  - {fault}" for fault in faults)
        noun = "fault" if len(faults) == 1 else "faults"
        super().__init__(f"{source} has {len(faults)} {noun}:\n{listed}")


class DataError(UsageError):
    """A data set is empty, malformed, or lacks the columns that the plan needs."""


class IntegrityError(HoldfastError):
    """Content does not match its digest: tampering, a flipped bit, or a truncated file."""

    exit_code = EXIT_FAIL


class RefusedError(HoldfastError):
    """The action is understood and not allowed, such as promoting what has not passed."""

    exit_code = EXIT_FAIL


class EnvironmentFault(HoldfastError):
    """The machine, not the request, is at fault: disk full, package missing, no memory."""

    exit_code = EXIT_ENVIRONMENT


class InvalidRun(HoldfastError):
    """The run finished or stopped in a state that no verdict may rest on."""

    exit_code = EXIT_ENVIRONMENT
