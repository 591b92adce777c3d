"""Settings found by trying: Lightning's learning-rate and batch-size finders, on the net and data of a config."""

import math
from pathlib import Path

import numpy as np
from lightning import Trainer
from lightning.pytorch.tuner import Tuner

from ..data import ImageDataModule
from ..errors import InputError
from ..runs import figures
from .classifier import ImageClassifier

STEPS = 100  # what the trainer that is handed over has to be allowed
_UNSETTLED = 10  # steps at the beginning, of which the smoothed loss says little


def find_lr(trainer: Trainer, model: ImageClassifier, data: ImageDataModule, picture: Path) -> float:
    """The learning rate at which the loss falls fastest while the rate rises, in ``STEPS`` steps, from 1e-5 to 10.

    Smith 2017, "Cyclical learning rates for training neural networks", section 3.3.

    Args:
        trainer: without callbacks or loggers, which would take the steps for a training.
        model: its weights are what they were before, afterwards.
        data: what it is to be trained on.
        picture: where the curve is written.

    Raises:
        InputError: where too few losses are finite.
    """
    found = Tuner(trainer).lr_find(
        model, datamodule=data, min_lr=1e-5, max_lr=10, num_training=STEPS, update_attr=False
    )
    assert found is not None  # as it is in a fast_dev_run
    rates, losses = np.array(found.results["lr"]), np.array(found.results["loss"])
    rates, losses = rates[np.isfinite(losses)], losses[np.isfinite(losses)]
    if len(losses) < 2 * _UNSETTLED:
        raise InputError("the loss is infinite from the beginning, at the smallest learning rates; look at the data")
    # By its logarithm, in which the rates are evenly spaced. Lightning's own suggestion divides by the rate itself,
    # and so is among the smallest.
    rates, losses = rates[_UNSETTLED:], losses[_UNSETTLED:]
    suggestion = float(rates[np.gradient(losses).argmin()])
    figures.save(figures.learning_rates(rates.tolist(), losses.tolist(), suggestion), picture)
    return suggestion


def find_batch_size(trainer: Trainer, model: ImageClassifier, data: ImageDataModule) -> int:
    """The largest power of two of images, in each process, that a training step has memory and data for.

    Args:
        trainer: without callbacks or loggers.
        model: its weights are what they were before, afterwards; it has no schedule any more.
        data: what it is to be trained on.
    """
    data.prepare_data()
    model.hparams["scheduler"] = None  # all trials go on with one schedule, which may be shorter than they are
    most = len(data.split("train")) // trainer.world_size
    doublings = max(int(math.log2(most)), 1)  # from two images on
    found = Tuner(trainer).scale_batch_size(model, datamodule=data, max_trials=doublings, max_val=2 * most)
    assert found is not None  # as it is in a fast_dev_run
    return found
