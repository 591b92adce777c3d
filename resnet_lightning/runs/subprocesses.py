"""Passes the run's folder from the first process of a run to the others.

For each further device, Lightning starts the same command again. These processes read their run's folder from the
environment.
"""

import os
import signal
import threading
import time
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only

from ..signals import PARENT_VARIABLE, handle, raise_signalled, signal_parent

FOLDER_VARIABLE = "RESNET_LIGHTNING_RUN_FOLDER"

STARTER_VARIABLE = "RESNET_LIGHTNING_STARTER"
"""The variable with the process id of the sweep that started this run."""


def folder_of_parent() -> Path | None:
    """Returns the run's folder if another process of the run started this one."""
    return Path(os.environ[FOLDER_VARIABLE]) if {"LOCAL_RANK", FOLDER_VARIABLE} <= os.environ.keys() else None


def tell_children(folder: Path) -> None:
    """Stores the run's folder in the environment, for the processes that Lightning starts."""
    if folder_of_parent() is None:
        os.environ.update({FOLDER_VARIABLE: str(folder), PARENT_VARIABLE: str(os.getpid())})


def end_with_parent() -> None:
    """Ends this process soon after its parent ends, and sends signals that end this one to the parent too.

    Otherwise a process that sets up communication with the others would wait half an hour for a dead one.
    """
    parent = int(os.environ[PARENT_VARIABLE])

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        time.sleep(10)  # for the last steps of a successful run
        os._exit(1)

    def end_both(number: int) -> None:
        signal_parent(number)
        raise_signalled(number)

    threading.Thread(target=watch, daemon=True).start()
    handle(end_both)


def end_with_starter() -> None:
    """Ends this run, as SIGTERM does, when the sweep that started it is killed.

    The same sweep, started again, then finds the run saved and its folder free.
    """
    starter = os.environ.pop(STARTER_VARIABLE, None)  # the processes for the other devices end with this one
    if starter is None:
        return

    def watch() -> None:
        while os.getppid() == int(starter):
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def settle_rank(devices: int, num_nodes: int, has_starter: bool) -> None:
    """Sets the rank of this process to the one that Lightning will give it, and forgets variables that mislead it.

    Lightning takes the rank from the first variable that gives one. Shells inside of a job of a cluster, and scripts
    that start one run on each device, leave such variables; and the tasks of ``srun -n 4`` are four runs if the options
    of each ask for one process.

    Args:
        devices: the number of processes on each machine that the options ask for.
        num_nodes: the number of machines that they ask for.
        has_starter: whether torchrun or a cluster has started all processes of the run, and gives them their ranks.
    """
    environment = os.environ
    is_child = folder_of_parent() is not None
    if is_child or (has_starter and devices * num_nodes > 1):
        return
    if num_nodes == 1:
        for name in "NODE_RANK", "GROUP_RANK":
            environment.pop(name, None)
    # All processes may have been started by hand, with the variables that Lightning documents.
    by_hand = {"WORLD_SIZE", "MASTER_ADDR", "NODE_RANK", "GROUP_RANK"} & environment.keys()
    if devices * num_nodes == 1 or not by_hand:
        environment.pop("LOCAL_RANK", None)
    environment.pop("RANK", None)  # Lightning computes it from the other two
    ranks = [environment.get(name, "0") for name in ("NODE_RANK", "GROUP_RANK", "LOCAL_RANK")]
    rank_zero_only.rank = int(any(rank != "0" for rank in ranks))  # type: ignore[attr-defined]


def is_first_process() -> bool:
    """Whether this is the process of rank 0, which writes the run's files."""
    return rank_zero_only.rank == 0  # type: ignore[attr-defined]
