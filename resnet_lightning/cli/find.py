"""``lightning fit --find lr|batch_size``: finds a setting by experiment, instead of training."""

from pathlib import Path

from lightning import Trainer
from rich.console import Console
from rich.markup import escape

from ..data import ImageDataModule
from ..errors import InputError
from ..training import tuner
from ..training.classifier import ImageClassifier
from .summary import print_line


def find(
    what: str, trainer: Trainer, model: ImageClassifier, data: ImageDataModule, folder: Path, console: Console
) -> None:
    """Finds a setting and prints the option that sets it.

    Raises:
        InputError: if there are several devices, or if the tuner finds nothing.
    """
    if trainer.world_size > 1:
        raise InputError(f"--find {what} needs a single device, not {trainer.world_size}; give --trainer.devices 1")
    if what == "lr":
        figure = folder / "pictures" / "learning_rates.png"
        rate = f"{tuner.find_lr(trainer, model, data, figure):.2g}"
        print_line(console, f"The loss falls fastest at [bold]{rate}[/]: --model.lr {rate}")
        print_line(console, f"[dim]see[/] {escape(str(figure))}")
    else:
        size = tuner.find_batch_size(trainer, model, data)
        print_line(console, f"The largest batch that fits has [bold]{size}[/] images: --data.batch_size {size}")
