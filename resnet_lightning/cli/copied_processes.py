"""The errors of processes that are copies of this one, as ``ddp_spawn``, ``ddp_fork`` and ``ddp_notebook`` start."""

import contextlib
import re
from collections.abc import Iterator

from torch.multiprocessing import ProcessRaisedException

from ..errors import InputError
from ..training.callbacks import Interrupted, Paused

# The end of a traceback in text, which is all that comes back from such a process.
_INPUT_ERROR = re.compile(r"^resnet_lightning\.errors\.InputError: (.+)", re.MULTILINE | re.DOTALL)
_INTERRUPTED = re.compile(r"^resnet_lightning\.[\w.]+\.Interrupted: (\w+) .* step (\d+)", re.MULTILINE)
_PAUSED = re.compile(r"^resnet_lightning\.[\w.]+\.Paused: .* epoch (\d+)", re.MULTILINE)


@contextlib.contextmanager
def errors_of_copies() -> Iterator[None]:
    """Raises the ``InputError`` or ``Interrupted`` of such a process again, in this one."""
    try:
        yield
    except ProcessRaisedException as error:
        if found := _INTERRUPTED.search(str(error)):
            raise Interrupted(found[1], int(found[2])) from error
        if found := _PAUSED.search(str(error)):
            raise Paused(int(found[1])) from error
        if found := _INPUT_ERROR.search(str(error)):
            raise InputError(found[1].strip()) from error
        raise
