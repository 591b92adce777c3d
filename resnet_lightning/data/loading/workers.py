"""What the worker processes of a loader do when the process that trains, or a whole group of processes, is ended."""

import multiprocessing
import os
import signal
import threading


def prepare_worker(number: int) -> None:
    """Lets a worker live as long as the process that trains.

    A terminal and a cluster send a signal to all processes of a run. The one that trains still needs its workers then,
    to end the step and to save. When it is killed, its workers end too, however they were started.

    Args:
        number: the number of the worker, which torch passes.
    """
    for name in "SIGINT", "SIGHUP", "SIGUSR1":
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if hasattr(signal, "sigwaitinfo"):  # macOS has none
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told, args=({parent.pid, os.getppid()},), daemon=True).start()

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _end_when_told(by: set[int | None]) -> None:
    """Ends this process when one of certain processes sends it SIGTERM."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid not in by:
        continue
    os._exit(0)
