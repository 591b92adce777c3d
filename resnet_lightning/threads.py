"""How long torch's threads wait for each other before they sleep.

torch divides its work among the threads of OpenMP, which meet after each operation. The one that comes first waits in a
loop, for more than ten milliseconds, before it sleeps. Beside other busy processes, the thread that it waits for may be
waiting for this very core. A small network, with hundreds of operations in each step, then trains at a tenth of its
speed or less.

A short wait costs speed where the cores are free, since waking a thread takes longer than a small operation. It is
therefore chosen by the load when the program starts. It changes no result, unlike the number of threads.

This module imports nothing but the standard library, since the variable is read when torch is imported.
"""

import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "GOMP_SPINCOUNT"
"""The variable of GNU's OpenMP, which is part of torch for Linux. Others ignore it."""

_BESIDE_OTHERS = "1000"  # rounds of the waiting loop, about 50 microseconds; unlimited threads wait 300,000
_ALONE = "20000"  # as fast as 300,000


def wait_briefly() -> None:
    """Limits how long threads wait, unless the user has chosen it. Call it before torch is imported."""
    os.environ.update(chosen_wait())


def chosen_wait() -> Mapping[str, str]:
    """Returns the variable for a process that starts now; nothing if the user has chosen how threads wait."""
    if sys.platform != "linux" or VARIABLE in os.environ or "OMP_WAIT_POLICY" in os.environ:
        return {}
    return {VARIABLE: _BESIDE_OTHERS if _is_busy() else _ALONE}


def _is_busy() -> bool:
    """Returns whether other processes leave fewer free cores than this one has threads."""
    try:
        threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
        return _others() + threads > (os.cpu_count() or 1)
    except (OSError, ValueError, IndexError):  # no /proc, or several numbers of threads
        return False


def _others() -> float:
    """Returns the number of other threads on this machine that run or are ready to run, the median of a few looks."""
    counts = []
    for _ in range(5):
        running = Path("/proc/loadavg").read_text().split()[3].partition("/")[0]
        counts.append(int(running) - 1)  # this one runs too
        time.sleep(0.002)
    return statistics.median(counts)
