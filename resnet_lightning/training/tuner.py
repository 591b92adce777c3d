"""Lightning's learning-rate and batch-size finders, run on the model and data of a config."""

import contextlib
import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.tuner import Tuner, lr_finder
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from ..data import ImageDataModule
from ..errors import InputError
from ..runs import figures
from .classifier import ImageClassifier

STEPS = 100  # max_steps of the trainer must be at least this
_WARM_UP = 10  # the smoothed loss is not reliable in these first steps


def find_lr(trainer: Trainer, model: LightningModule, data: LightningDataModule | None, path: Path) -> float:
    """Returns the learning rate at which the loss falls fastest while the rate rises from 1e-5 to 10.

    Smith 2017, "Cyclical learning rates for training neural networks", section 3.3.

    Args:
        trainer: a trainer without callbacks and loggers: they would record the ``STEPS`` steps as a training.
        model: the model; its weights are restored afterwards.
        data: the training data.
        path: the file for the figure of the curve.

    Raises:
        InputError: if too few losses are finite.
    """
    with _lr_factors(), _bar_on_terminals():
        found = Tuner(trainer).lr_find(
            model, datamodule=data, min_lr=1e-5, max_lr=10, num_training=STEPS, update_attr=False
        )
    assert found is not None  # as it is in a fast_dev_run
    rates, losses = np.array(found.results["lr"]), np.array(found.results["loss"])
    rates, losses = rates[np.isfinite(losses)], losses[np.isfinite(losses)]
    if len(losses) < 2 * _WARM_UP:
        raise InputError("the loss is not finite even at the smallest learning rates; check the data")
    # The steepest slope over the logarithm of the rate. Lightning's own suggestion uses the slope over the rate itself,
    # and therefore always finds one of the smallest rates.
    rates, losses = rates[_WARM_UP:], losses[_WARM_UP:]
    suggestion = float(rates[np.gradient(losses).argmin()])
    figures.save(figures.learning_rates(rates.tolist(), losses.tolist(), suggestion), path)
    return suggestion


@contextlib.contextmanager
def _bar_on_terminals() -> Iterator[None]:
    """Lets Lightning's finder draw its bar only on a terminal, not into the log of a job."""
    bar = lr_finder.tqdm
    lr_finder.tqdm = functools.partial(bar, disable=None)  # tqdm's word for "unless it is a terminal"
    try:
        yield
    finally:
        lr_finder.tqdm = bar


@contextlib.contextmanager
def _lr_factors() -> Iterator[None]:
    """Multiplies the learning rate of each group by its factor in every step. Lightning's finder sets one for all."""
    rates: list[float] = []

    def multiply(optimizer: Optimizer, *_: Any) -> None:
        rates[:] = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_factor", 1.0)

    def restore(optimizer: Optimizer, *_: Any) -> None:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    hooks = [register_optimizer_step_pre_hook(multiply), register_optimizer_step_post_hook(restore)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def find_batch_size(trainer: Trainer, model: LightningModule, data: LightningDataModule | None) -> int:
    """Returns the largest power of two for the batch size of a process that memory and data allow.

    Args:
        trainer: a trainer without callbacks and loggers.
        model: the model; its weights are restored afterwards, and its schedule is removed.
        data: the data that it is to be trained on. It, or else the module, has an attribute ``batch_size``. Of others
            than this package's, the size of the data set is not known before, and 8192 is the largest batch.
    """
    limits: dict[str, Any] = {}
    if isinstance(model, ImageClassifier):
        model.hparams["scheduler"] = None  # all trials share one schedule, which may be too short for them
    if isinstance(data, ImageDataModule):
        data.prepare_data()
        max_size = len(data.split("train")) // trainer.world_size
        doublings = max(int(math.log2(max_size)), 1)  # starting with two images
        limits = {"max_trials": doublings, "max_val": 2 * max_size}
    found = Tuner(trainer).scale_batch_size(model, datamodule=data, **limits)
    assert found is not None  # as it is in a fast_dev_run
    return found
