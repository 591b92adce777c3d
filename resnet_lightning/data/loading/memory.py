"""Checks how much memory is free, on a device or in the machine."""

from pathlib import Path

import torch


def fits(device: torch.device, nbytes: int) -> bool:
    """Whether an array needs at most half of the free memory of a device; ``cpu`` is the machine's memory."""
    if device.type == "cpu":
        return nbytes <= _free_memory() // 2
    if device.type != "cuda":  # others share the machine's memory, or do not report theirs
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return nbytes <= free // 2


def _free_memory() -> int:
    """The bytes that this process can allocate; 2**62 if the system does not report it, as on macOS."""
    free = 1 << 62
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
        # A container's own limit.
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            used = int(Path("/sys/fs/cgroup/memory.current").read_text())
            stat = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
            free = min(free, int(limit) - used + int(stat["inactive_file"]))  # cached files, which can be dropped
    except (OSError, KeyError, ValueError):
        pass
    return free


def in_words(nbytes: int) -> str:
    """Formats a size, such as ``"153.6 MB"``."""
    return f"{nbytes / 1e9:,.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:,.1f} MB"
