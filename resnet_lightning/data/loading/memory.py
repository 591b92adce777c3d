"""What fits where."""

from pathlib import Path

import torch


def fits(device: torch.device, nbytes: int) -> bool:
    """Whether an array may lie on a device, or in the machine's memory: it leaves at least half of what is free now."""
    if device.type == "cpu":
        return nbytes <= _free_memory() // 2
    if device.type != "cuda":  # others share the machine's memory, or do not say how much they have
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return nbytes <= free // 2


def _free_memory() -> int:
    """Bytes that this process can have; without a limit where the system does not say, as on macOS."""
    free = 1 << 62
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
        # A container's own limit.
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            used = int(Path("/sys/fs/cgroup/memory.current").read_text())
            stat = dict(line.split() for line in Path("/sys/fs/cgroup/memory.stat").read_text().splitlines())
            free = min(free, int(limit) - used + int(stat["inactive_file"]))  # files that were read, and can go
    except (OSError, KeyError, ValueError):
        pass
    return free


def in_words(nbytes: int) -> str:
    """Such as ``"153.6 MB"``."""
    return f"{nbytes / 1e9:,.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:,.1f} MB"
