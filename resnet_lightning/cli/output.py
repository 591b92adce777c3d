"""Standard output that may go away: ``| head`` closes its pipe, or the terminal is closed."""

import contextlib
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from ..signals import receive

# A pipe without a reader, and a terminal that was closed.
_GONE = errno.EPIPE, errno.EIO


class _Output:
    """A text stream that ends the program as a signal does when nobody can read it any more.

    A write that fails would raise an exception wherever something happens to be printed, and a training would end
    without a checkpoint.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except OSError as error:
            self._end(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError) -> None:
        if error.errno not in _GONE:
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # what is still printed, by others too, is dropped
        os.close(nowhere)
        if threading.current_thread() is threading.main_thread():
            receive(signal.SIGPIPE)
        else:
            signal.raise_signal(signal.SIGHUP)  # Python handles signals in the main thread

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def outputs_that_may_close() -> Iterator[None]:
    """Ends the program as a signal does if standard output or standard error is closed by its reader.

    Streams that are no files, such as those of a notebook, are left as they are.
    """
    before = sys.stdout, sys.stderr
    if isinstance(sys.stdout, io.TextIOWrapper) and _has_number(sys.stdout):
        sys.stdout = _Output(sys.stdout)
    if isinstance(sys.stderr, io.TextIOWrapper) and _has_number(sys.stderr):
        sys.stderr = _Output(sys.stderr)
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    finally:
        sys.stdout, sys.stderr = before


def _has_number(stream: Any) -> bool:
    try:
        return int(stream.fileno()) >= 0
    except (OSError, ValueError):
        return False
