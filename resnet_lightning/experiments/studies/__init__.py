"""Studies: named lists of trainings with their published numbers beside them, one file each."""

import importlib

from ...errors import InputError, did_you_mean
from .study import Study

STUDIES = (
    *("degradation", "shortcuts", "activations", "depth", "width", "stochastic_depth"),
    *("lesions", "gradients", "landscape", "history", "worked_examples"),
)
"""The names of the studies. Each is a file in this folder that defines ``STUDY``."""


def find_study(name: str) -> Study:
    """Returns a study by its name.

    Raises:
        InputError: if there is no such study.
    """
    if name not in STUDIES:
        raise InputError(f"unknown study {name!r}; {did_you_mean(name, STUDIES)}; `lightning study` lists them")
    study = importlib.import_module(f".{name}", __package__).STUDY
    assert isinstance(study, Study)
    return study
