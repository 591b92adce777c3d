"""The answer to a signal that ends ``fit``, ``validate``, ``test`` or ``predict``: one line, and SLURM's requeue."""

import contextlib
import shlex
import signal
import sys
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only

from ..signals import Signalled
from ..training.callbacks import Interrupted
from ..training.callbacks.preemption import requeue_after
from . import summary
from .checkpoint_config import trust_option


@rank_zero_only
def end_of_signal(stop: Interrupted | Signalled, command: str, folder: Path | None) -> None:
    """Prints which signal ended a command and how to resume its run, and requeues the job if SLURM warned of its end.

    Args:
        stop: what the signal raised. After ``Interrupted``, the training has already requeued its job.
        command: the subcommand.
        folder: the run's folder; None if there is none.
    """
    line = str(stop)
    if isinstance(stop, Signalled):
        requeue_after(stop.number)
        line = f"{signal.Signals(stop.number).name} ended {command}"
    has_checkpoint = command == "fit" and folder is not None and any((folder / "checkpoints").glob("*.ckpt"))
    if folder is not None and (has_checkpoint or isinstance(stop, Interrupted)):
        line += f". To resume: {summary.program()} fit --resume {shlex.quote(str(folder))}{trust_option(folder)}"
    elif command == "fit":
        line += "; there is no checkpoint yet"
    with contextlib.suppress(OSError):
        # Standard output may be what has gone.
        print(line, file=sys.stderr if stop.number == signal.SIGPIPE else sys.stdout, flush=True)
