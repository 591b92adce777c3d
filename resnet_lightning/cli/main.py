"""The program ``lightning``: runs the subcommand, and reports bad input in one line and by the exit code."""

import importlib
import io
import os
import signal
import sys

from ..errors import InputError, visible
from ..signals import Signalled, exit_code, imports_end_at_signals, raised_signals, received
from .environment import check_environment
from .error_line import error_line
from .output import outputs_that_may_close
from .overview import print_overview
from .unknown_words import check_command

SUBCOMMANDS = (
    *("new", "models", "configs", "bench", "sweep", "cross_validate", "runs", "report", "explain", "export"),
    *("calibrate", "push", "pull", "features", "data", "study", "completion"),
)
"""Each is a file in this folder. The commands that need a trainer, such as ``fit``, are in command_line.py."""


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line.

    Args:
        arguments: the command line without the program's name; by default that of this process.

    Returns:
        The exit code: 0, 2 for bad input, or that of a signal: 130 for Ctrl-C, 143 for SIGTERM and SIGUSR1, 129 for
        SIGHUP, and 141 if standard output was closed.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    with raised_signals():
        try:
            with outputs_that_may_close():
                return _reported(arguments)
        except Signalled as stop:
            return _ended(stop.number)
        except KeyboardInterrupt:
            return _ended(signal.SIGINT)
        except Exception:
            if received():  # code that was interrupted may raise an exception of its own instead
                return _ended(received())
            raise


def _ended(number: int) -> int:
    """Prints which signal ended the program, and returns its exit code."""
    if number != getattr(signal, "SIGPIPE", None):
        print(f"{signal.Signals(number).name} ended the program", file=sys.stderr)
    return exit_code(number)


def _reported(arguments: list[str]) -> int:
    """Runs a command line, and reports bad input in one line."""
    try:
        return _run(arguments)
    except Exception as error:
        if received():
            raise
        bad_input = error if isinstance(error, InputError) else _as_input_error(error)
        if bad_input is None or "--debug" in arguments:
            raise
        print("error:", error_line(visible(str(bad_input))), file=sys.stderr)
    return 2


def _as_input_error(error: Exception) -> InputError | None:
    from .failures import as_input_error  # imported here, since importing Lightning takes seconds

    return as_input_error(error)


def _run(arguments: list[str]) -> int:
    if sys.platform == "win32":
        raise InputError(
            "the command line needs POSIX file locks, which Windows does not have; use WSL. "
            "`import resnet_lightning` works on Windows too"
        )
    check_environment()
    if arguments in ([], ["-h"], ["--help"]):
        print_overview()
        return 0
    if arguments and arguments[0] in SUBCOMMANDS:
        with imports_end_at_signals():
            subcommand = importlib.import_module(f".{arguments[0]}", __package__)
        subcommand.command([argument for argument in arguments[1:] if argument != "--debug"])
        return 0
    check_command(arguments, SUBCOMMANDS)
    forget_unreadable_ranks()
    with imports_end_at_signals():
        from .command_line import run  # imported here, since importing Lightning takes seconds

    return run(arguments)


def forget_unreadable_ranks() -> None:
    """Removes variables for the rank of this process that hold no number: importing Lightning would fail."""
    for name in "RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK":
        if not os.environ.get(name, "0").isdecimal():
            del os.environ[name]
