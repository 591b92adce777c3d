"""The number of threads of a run."""

import os

import torch
from lightning import Callback, LightningModule, Trainer

from ..hardware import threads_that_fit


class FittingThreads(Callback):
    """Lets torch use as many threads as there are cores for this process, if it would use more.

    In a container that may use two cores of a large machine, torch starts a thread for each core of the machine. The
    variable ``OMP_NUM_THREADS`` is obeyed. The number of threads changes results up to rounding; a run that is resumed
    on the same machine has the same number.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if "OMP_NUM_THREADS" in os.environ:
            return
        is_on_cpu = trainer.strategy.root_device.type == "cpu"
        threads = threads_that_fit(trainer.num_devices if is_on_cpu else 1)
        if threads < torch.get_num_threads():
            torch.set_num_threads(threads)
