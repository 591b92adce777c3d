"""Passes the run's folder from the first process of a run to the others.

For each further device, Lightning starts the same command again. These processes read their run's folder from the
environment.
"""

import os
import threading
import time
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only

FOLDER_VARIABLE = "RESNET_LIGHTNING_RUN_FOLDER"
_PARENT_VARIABLE = "RESNET_LIGHTNING_PARENT"


def folder_of_parent() -> Path | None:
    """Returns the run's folder if another process of the run started this one."""
    return Path(os.environ[FOLDER_VARIABLE]) if {"LOCAL_RANK", FOLDER_VARIABLE} <= os.environ.keys() else None


def tell_children(folder: Path) -> None:
    """Stores the run's folder in the environment, for the processes that Lightning starts."""
    os.environ.update({FOLDER_VARIABLE: str(folder), _PARENT_VARIABLE: str(os.getpid())})


def end_with_parent() -> None:
    """Ends this process soon after its parent ends.

    Otherwise a process that sets up communication with the others would wait half an hour for a dead one.
    """
    parent = int(os.environ[_PARENT_VARIABLE])

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        time.sleep(10)  # for the last steps of a successful run
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def forget_stray_rank() -> None:
    """Makes this the first process of a run if a variable gives its rank, but nothing has started it with others.

    Shells inside of a job of a cluster, and scripts that start one run on each device, leave such variables.
    """
    environment = os.environ
    is_of_a_group = FOLDER_VARIABLE in environment or "WORLD_SIZE" in environment or "MASTER_ADDR" in environment
    is_of_a_job = "SLURM_NTASKS" in environment or "JSM_NAMESPACE_RANK" in environment
    if is_of_a_group or is_of_a_job or "NODE_RANK" in environment or "GROUP_RANK" in environment:
        return
    for name in "RANK", "LOCAL_RANK":
        environment.pop(name, None)
    rank_zero_only.rank = 0  # type: ignore[attr-defined]


def is_first_process() -> bool:
    """Whether this is the process of rank 0, which writes the run's files."""
    return rank_zero_only.rank == 0  # type: ignore[attr-defined]
