"""Signals that end the program: one exception for all of them, and one set of exit codes.

It imports nothing but the standard library, so that a program can handle signals before it imports anything else.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

# Schedulers such as SLURM can send SIGUSR1 some time before they end a job. A terminal that is closed sends SIGHUP.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name))

PARENT_VARIABLE = "RESNET_LIGHTNING_PARENT"
"""The variable with the process id of the first process of a run, for the processes that Lightning starts."""


class Signalled(BaseException):
    """Raised where a signal ends the program, outside of the training loop.

    Like KeyboardInterrupt it is no ``Exception``: code that handles errors must not keep the program from ending.

    Args:
        number: the number of the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"{signal.Signals(number).name} ended the program")


def exit_code(number: int) -> int:
    """Returns the exit code of a program that a signal ended: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.

    It is that of the shell, except that SIGUSR1, the warning of a scheduler, counts as SIGTERM. Without a signal, 0, it
    is 0.
    """
    if not number:
        return 0
    return 128 + (signal.SIGTERM if number == getattr(signal, "SIGUSR1", None) else number)


class _Handling:
    """Which function handles the signals of this process."""

    handler: Callable[[int], None] | None = None
    process = 0
    received = 0


def is_handled() -> bool:
    """Whether the program handles signals, with ``raised_signals`` or ``handle``."""
    return _Handling.handler is not None


def handle(handler: Callable[[int], None]) -> Callable[[int], None] | None:
    """Lets a function handle the signals from now on. Outside the main thread it does nothing.

    SIGHUP stays ignored where it is, which is what ``nohup`` does.

    Returns:
        The function that handled them before.
    """
    before = _Handling.handler
    if threading.current_thread() is threading.main_thread():
        _Handling.handler, _Handling.process = handler, os.getpid()
        take_over()
    return before


def take_over() -> None:
    """Replaces handlers that a library has installed, such as those of Lightning."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            # A shell lets jobs in the background ignore SIGINT; one that is sent to a run is still meant for it.
            if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _dispatch)


def _dispatch(number: int, frame: FrameType | None) -> None:
    if os.getpid() == _Handling.process:
        receive(number)
    elif number != signal.SIGINT:  # a process that was forked from this one; a Ctrl-C reaches its parent too
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def receive(number: int) -> None:
    """Does what a signal does that arrives now."""
    if _Handling.handler is not None:
        _Handling.handler(number)


def raise_signalled(number: int) -> None:
    """Handles a signal by raising ``Signalled``.

    A further signal does not interrupt the end of the program, unless it is a Ctrl-C.
    """
    if _Handling.received and number != signal.SIGINT:
        return
    _Handling.received = number
    raise Signalled(number)


def received() -> int:
    """Returns the number of the signal that ``Signalled`` was raised for; 0 if there was none."""
    return _Handling.received


@contextlib.contextmanager
def raised_signals() -> Iterator[None]:
    """Raises ``Signalled`` for each signal, until the end of the ``with`` statement."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
    _Handling.received = 0
    handler = handle(raise_signalled)
    try:
        yield
    finally:
        _Handling.handler, _Handling.received = handler, 0
        for number, old in before.items():
            if old is not None:
                signal.signal(number, old)


def is_the_program() -> bool:
    """Whether this process runs the command line, and does not just import the package."""
    name = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else ""
    original = list(sys.orig_argv)
    # Python calls itself "-m" until it has imported the package.
    may_be = name in ("-m", "__main__.py") and "-m" in original
    # Lightning starts the processes for further devices by the second name.
    module = original[original.index("-m") + 1 :][:1] if may_be else []
    as_module = module in ([__package__], [f"{__package__}.__main__"])
    return as_module or name in ("lightning", "resnet-lightning")


def end_at_signals() -> None:
    """Ends the program at each signal, while it starts and imports its libraries: there is nothing to save yet."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _end)


@contextlib.contextmanager
def imports_end_at_signals() -> Iterator[None]:
    """Ends the program at a signal at once, in a ``with`` statement in which it imports libraries.

    An exception could get lost there: torch discards those of importing NumPy, for instance. In a process that is not
    the program it does nothing.
    """
    if not is_the_program():
        yield
        return
    end_at_signals()
    try:
        yield
    finally:
        take_over()


def signal_parent(number: int) -> None:
    """Sends a signal that ends this process to the first process of the run, if that one has started this one.

    The first would else only lose the connection to this one. A Ctrl-C, which usually reaches both, is sent as SIGTERM:
    a second one would interrupt the end of the first.
    """
    if os.environ.get(PARENT_VARIABLE) == str(os.getppid()):
        os.kill(os.getppid(), signal.SIGTERM if number == signal.SIGINT else number)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    signal_parent(number)  # if it cannot act on it, as it waits for this process, Lightning kills it
    with contextlib.suppress(OSError):
        os.write(2, f"{signal.Signals(number).name} ended the program\n".encode())
    os._exit(exit_code(number))
