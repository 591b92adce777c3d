"""What the hardware computes fast, and how many threads fit on it."""

import math
import os
from pathlib import Path
from typing import Any

import torch

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_FEW = 4  # processes, with which people try DDP on a small machine


def has_fast_bf16(device: str) -> bool:
    """Whether the device computes convolutions faster in bfloat16 than in float32.

    A CPU does so with AMX. With the bfloat16 instructions of AVX-512 alone, a ResNet-20 trains at three quarters of its
    speed in float32.

    Args:
        device: its type, such as ``cpu``.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities: Any = getattr(torch.cpu, "get_capabilities", dict)()
    return device == "cpu" and bool(capabilities.get("amx_bf16")) if capabilities else _cpu_flag("amx_bf16")


def _cpu_flag(name: str) -> bool:
    """Whether Linux lists a property of the CPU; older releases of torch do not."""
    try:
        return name in Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False


def device_of(accelerator: Any) -> str:
    """Returns the type of the device that ``trainer.accelerator`` stands for, as far as it has a name."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    return "cpu" if accelerator in ("auto", "cpu") else str(accelerator)


def precision_for(device: str) -> str:
    """Returns the precision in which networks train fastest without losing accuracy: ``bf16-mixed`` or ``32-true``."""
    return "bf16-mixed" if has_fast_bf16(device) else "32-true"


def bf16_in_words(device: str) -> str:
    """Returns a clause that names what the device has for bfloat16."""
    name = {"cpu": "this CPU", "cuda": "this GPU"}.get(device, f"the device {device!r}")
    units = "AMX units" if device == "cpu" else "units"
    return f"{name} has {'' if has_fast_bf16(device) else 'no '}{units} for bfloat16"


def threads_that_fit(processes: int = 1, quota: Path = _QUOTA) -> int:
    """Returns how many threads a process should have: one for each core that it may use.

    torch counts the cores of the machine. A container may be limited to less computing time than they have; its threads
    would then wait for each other.

    Args:
        processes: how many share the cores.
        quota: the file in which Linux states the limit, as microseconds of computing time and of the period.
    """
    cores = float(available_cores())
    try:
        limit, period = quota.read_text().split()
        cores = min(cores, int(limit) / int(period))
    except (OSError, ValueError):  # no such file, or "max" for no limit
        pass
    return max(1, math.floor(cores / processes))


def processes_that_fit() -> int:
    """Returns how many processes may train side by side on the cores of this machine; a few fit on any machine."""
    return max(available_cores(), _FEW)


def available_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
