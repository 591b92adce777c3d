"""``lightning fit --find lr|batch_size``: finds a setting by experiment, instead of training."""

import inspect
from pathlib import Path

from lightning import LightningDataModule, LightningModule, Trainer
from rich.console import Console
from rich.markup import escape

from ..errors import InputError
from ..training import tuner
from ..training.classifier import ImageClassifier
from .summary import print_line


def find(
    what: str,
    trainer: Trainer,
    model: LightningModule,
    data: LightningDataModule | None,
    folder: Path,
    console: Console,
) -> None:
    """Finds a setting and prints the option that sets it.

    Raises:
        InputError: if there are several devices, if the tuner finds nothing, or if neither module nor data have a
            batch size.
    """
    if trainer.world_size > 1:
        raise InputError(f"--find {what} needs a single device, not {trainer.world_size}; give --trainer.devices 1")
    if what == "lr":
        figure = folder / "pictures" / "learning_rates.png"
        rate = f"{tuner.find_lr(trainer, model, data, figure):.2g}"
        option = next((name for name in _RATES if _takes(model, name)), None)
        how = f"--model.{option} {rate}" if option else f"{type(model).__name__} has no option lr to set"
        print_line(console, f"The loss falls fastest at [bold]{rate}[/]: {how}")
        print_line(console, f"[dim]see[/] {escape(str(figure))}")
    else:
        group = "data" if hasattr(data, "batch_size") else "model"
        if not (group == "data" or hasattr(model, "batch_size") or "batch_size" in model.hparams):
            raise InputError("--find batch_size needs an attribute batch_size of the data module, or of the module")
        size = tuner.find_batch_size(trainer, model, data)
        print_line(console, f"The largest batch that fits has [bold]{size}[/] images: --{group}.batch_size {size}")


_RATES = "lr", "learning_rate"
"""The usual names of the option for the learning rate."""


def _takes(model: LightningModule, option: str) -> bool:
    return isinstance(model, ImageClassifier) or option in inspect.signature(type(model)).parameters
