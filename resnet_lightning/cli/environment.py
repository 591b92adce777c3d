"""Checks what libraries take from the environment of the process when they are imported."""

import os
from collections.abc import Mapping

from ..errors import InputError

_WHOLE_NUMBERS = (
    *("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT"),
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "JSM_NAMESPACE_RANK", "PL_GLOBAL_SEED"),
)


def check_environment(environment: Mapping[str, str] = os.environ) -> None:
    """Checks the current folder, and the variables by which a launcher numbers the processes of a run.

    Raises:
        InputError: if the folder was removed, or if a variable is no whole number. Libraries would fail when they are
            imported or first used.
    """
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise InputError("the current folder was removed; change to another folder") from error
    for name in _WHOLE_NUMBERS:
        value = environment.get(name)
        if value is not None and not value.strip().isdecimal():
            raise InputError(f"the environment variable {name} is {value!r}; give a whole number, or unset it")
