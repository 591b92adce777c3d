"""Measures start-up times: of an import, and of the help of the command line."""

import subprocess
import sys
from collections.abc import Callable, Iterator

from .comparison import Comparison, interleaved, timed

# A command line like that in Lightning's documentation.
_STOCK = """
import torch, torchvision
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

class Model(LightningModule):
    def __init__(self, num_classes: int = 10, lr: float = 0.1):
        super().__init__()
        self.net = torchvision.models.resnet18(num_classes=num_classes)

class Data(LightningDataModule):
    def __init__(self, root: str = "data", batch_size: int = 128):
        super().__init__()

LightningCLI(Model, Data, args=["fit", "--help"])
"""


def startup(*, rounds: int) -> Iterator[Comparison]:
    """Times whole processes, from start to exit."""
    ours, theirs = _process("-c", "import resnet_lightning"), _process("-c", "import torch")
    yield interleaved("import resnet_lightning, against import torch", 1, ours, theirs, rounds=rounds, unit="starts")
    ours, theirs = _process("-m", "resnet_lightning", "fit", "--help"), _process("-c", _STOCK)
    work = "lightning fit --help, against a stock LightningCLI"
    yield interleaved(work, 1, ours, theirs, rounds=rounds, unit="starts")


def _process(*arguments: str) -> Callable[[], float]:
    def run() -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    return timed(run)
