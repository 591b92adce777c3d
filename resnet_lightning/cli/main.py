"""The program ``lightning``: runs the subcommand, and reports bad input in one line and by the exit code."""

import errno
import importlib
import sys

from ..errors import InputError, visible

SUBCOMMANDS = (
    *("new", "models", "configs", "bench", "cross_validate", "runs", "report", "explain", "export", "features"),
    "completion",
)
"""Each is a file in this folder. The commands that need a trainer, such as ``fit``, are in command_line.py."""


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line.

    Args:
        arguments: the command line without the program's name; by default that of this process.

    Returns:
        The exit code: 0, 2 for bad input, or 143 if a signal ended a training.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return _run(arguments)
    except OSError as error:
        if "--debug" in arguments or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        where = repr(error.filename) if error.filename else "a file of the run"
        print(f"error: {where} cannot be written: {error.strerror}", file=sys.stderr)
    except InputError as error:
        if "--debug" in arguments:
            raise
        print("error:", visible(" ".join(str(error).split())), file=sys.stderr)
    return 2


def _run(arguments: list[str]) -> int:
    if sys.platform == "win32":
        raise InputError(
            "the command line needs POSIX file locks, which Windows does not have; use WSL. "
            "`import resnet_lightning` works on Windows too"
        )
    if arguments and arguments[0] in SUBCOMMANDS:
        subcommand = importlib.import_module(f".{arguments[0]}", __package__)
        subcommand.command([argument for argument in arguments[1:] if argument != "--debug"])
        return 0
    from .command_line import run  # imported here, since importing Lightning takes seconds

    return run(arguments)
