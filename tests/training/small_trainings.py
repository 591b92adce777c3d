"""What tests of the parts of a training share: a network, a trainer that keeps and prints nothing, and loaders."""

from lightning import Trainer
from torch import nn

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


def linear() -> nn.Module:
    """A network for tests that are not about the network."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def make_trainer(**options) -> Trainer:
    return Trainer(**{**QUIET, "accelerator": "cpu", "max_epochs": 1, **options})


class Batches(list):
    """A loader; Lightning takes a plain list for several loaders."""
