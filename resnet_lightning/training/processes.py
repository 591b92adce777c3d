"""How many processes the trainer's options ask for, and whether something outside of the program starts them."""

import os
from typing import Any

import torch
from lightning.fabric.plugins.environments import LSFEnvironment, SLURMEnvironment, TorchElasticEnvironment

from ..errors import InputError
from .hardware import available_cores, device_of, processes_that_fit


def number_of_processes(accelerator: Any, devices: Any, num_nodes: Any) -> int:
    """Returns the number of processes that options of ``Trainer`` ask for: one for each device of each machine.

    Values that ``Trainer`` will refuse count as one.
    """
    return number_of_nodes(num_nodes) * number_of_devices(accelerator, devices)


def number_of_nodes(num_nodes: Any) -> int:
    """Returns the number of machines that the option asks for; 1 if it is no number."""
    return max(int(num_nodes), 1) if _is_number(num_nodes) else 1


def number_of_devices(accelerator: Any, devices: Any) -> int:
    """Returns the number of devices of each machine that the options ask for, at least 1."""
    return max(_devices(accelerator, devices), 1)


def _devices(accelerator: Any, devices: Any) -> int:
    if isinstance(devices, list | tuple):
        return len(devices)
    if _is_number(devices) and int(devices) >= 0:
        return int(devices)
    if isinstance(devices, str) and "," in devices:
        return len([part for part in devices.split(",") if part.strip()])
    # All devices of the machine: `auto`, None or -1.
    has_gpus = accelerator in (None, "auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.cuda.device_count() if has_gpus else 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and value.strip().lstrip("-").isdecimal())


def check_devices(accelerator: Any, devices: Any) -> None:
    """Checks the number of devices on a CPU, for each of which Lightning starts a process of about a gigabyte.

    Raises:
        InputError: if it is no number, or much larger than the number of cores.
    """
    if "CPUAccelerator" not in str(accelerator) and device_of(accelerator or "auto") != "cpu":
        return  # Lightning compares with the devices that there are
    most = processes_that_fit()
    count = int(devices) if _is_number(devices) and not isinstance(devices, bool) else 0
    if devices != "auto" and not 1 <= count <= most:
        raise InputError(
            f"trainer.devices is {devices}; on a CPU, each is a process: give 1 to {most}, since this machine has "
            f"{available_cores()} cores, or auto"
        )


def check_started_processes(processes: int) -> None:
    """Checks that the processes that torchrun or SLURM has started are those of one run, if it has several.

    Args:
        processes: the number of processes that the options ask for.

    Raises:
        InputError: if not. One process in a job of several is not wrong: each is then a run of its own.
    """
    found, starter = 1, ""
    if TorchElasticEnvironment.detect():
        found, starter = int(os.environ.get("WORLD_SIZE", "1")), "torchrun"
    elif is_started_by_slurm():
        found, starter = slurm_tasks(), "SLURM"
    if found != processes and found > 1 and (processes > 1 or starter == "torchrun"):
        raise InputError(
            f"{starter} has started {found} processes, but trainer.devices times trainer.num_nodes is {processes}; "
            f"give --trainer.devices and --trainer.num_nodes whose product is {found}"
        )


def has_starter(processes: int) -> bool:
    """Whether torchrun, SLURM or LSF has started all processes of a run with so many."""
    return TorchElasticEnvironment.detect() or is_one_of_slurm(processes) or LSFEnvironment.detect()


def is_started_by_slurm() -> bool:
    """Whether SLURM may have started this process. Inside a SLURM job, torchrun may start it instead."""
    return SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()


def is_one_of_slurm(processes: int) -> bool:
    """Whether SLURM has started all processes of a run with so many.

    Otherwise each task of the job is a run of its own, which starts its further processes itself.
    """
    return is_started_by_slurm() and slurm_tasks() == processes


def slurm_tasks() -> int:
    """Returns the number of tasks of the SLURM job; 1 outside of one."""
    text = os.environ.get("SLURM_NTASKS", "1")
    return int(text) if text.isdecimal() else 1
