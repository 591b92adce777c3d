"""Variants that are scripts of their own, in plain PyTorch, instead of runs of ``lightning fit``."""

import datetime
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic_write import atomic_write, atomic_write_text
from ...data import DigitsDataModule
from ...runs.readable import UNREADABLE, parse_json, read_text
from ...runs.reader import Run
from ..launcher import LOG, Outcome
from ..processes import last_error
from ..trials import SEED, Trial
from .data_sets import StudyData

_RESULT = "result.json"
_NUMBERS = "test_accuracy", "train_accuracy", "parameters", "steps", "seconds"


def _digits_as_files(folder: Path) -> Path:
    """Writes the digits as PNG files into class folders, for scripts that read files, and returns their folder."""
    from PIL import Image

    digits = DigitsDataModule()
    for part in "train", "test":
        images, labels = digits.read(part)
        for number, (image, label) in enumerate(zip(np.asarray(images), labels, strict=True)):
            file = folder / "digits" / part / str(int(label)) / f"{number:04d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                with atomic_write(file) as opened:
                    Image.fromarray(image.squeeze()).save(opened, "PNG")
    return folder / "digits"


def script_command(module: str, data: StudyData, trial: Trial) -> list[str]:
    """Returns the command line after ``python`` that runs a script.

    Args:
        module: the full name of its module.
        data: the data set, whose folder the script gets as ``root``.
        trial: its overrides are the further arguments.
    """
    options = {name: value for name, value in trial.overrides.items() if name != SEED}
    arguments = {"root": data.settings.get("data.root", ""), "seed": trial.overrides[SEED], **options}
    return ["-m", module, *(f"{name}={value}" for name, value in arguments.items() if value)]


def run_script(module: str, data: StudyData, trial: Trial, folder: Path) -> Outcome:
    """Runs a script, unless its result is there, and returns the outcome in the form of a run.

    The last line that the script prints is its result, as JSON: the accuracies of test and training, the numbers of
    parameters and steps, and the seconds of the training.

    Args:
        module: the full name of its module.
        data: the data set.
        trial: the arguments and the seed.
        folder: the folder of all runs.
    """
    own = folder / trial.folder_name
    own.mkdir(parents=True, exist_ok=True)
    if "data.root" not in data.settings:
        data = replace(data, settings={"data.root": str(_digits_as_files(folder))})
    command = script_command(module, data, trial)
    result = _read(own / _RESULT, command)
    is_old = result is not None
    if result is None:
        with (own / LOG).open("wb") as log:
            done = subprocess.run([sys.executable, *command], stdout=log, stderr=subprocess.STDOUT, check=False)
        result = _result_of(own / LOG) if done.returncode == 0 else None
        if result is None:
            return Outcome(trial, None, last_error(own / LOG) or f"it ended with exit code {done.returncode}")
        atomic_write_text(own / _RESULT, json.dumps({"command": command, **result}, indent=1))
    return Outcome(trial, _as_run(own, result), is_old=is_old)


def _read(file: Path, command: list[str]) -> dict[str, Any] | None:
    """Returns the result of an earlier run of the same command."""
    try:
        result = parse_json(read_text(file))
        return result if result["command"] == command and all(name in result for name in _NUMBERS) else None
    except UNREADABLE:
        return None


def _result_of(log: Path) -> dict[str, Any] | None:
    try:
        result = parse_json(read_text(log).strip().splitlines()[-1])
        return {name: result[name] for name in (*_NUMBERS, "device")}
    except UNREADABLE:
        return None


def _as_run(folder: Path, result: dict[str, Any]) -> Run:
    record = {
        "state": "finished",
        "parameters": result["parameters"],
        "training_seconds": result["seconds"],
        "device": result.get("device", ""),
    }
    curves = {
        "test/acc": [(0, float(result["test_accuracy"]))],
        "train/acc": [(0, float(result["train_accuracy"]))],
        "step": [(0, float(result["steps"]))],
    }
    started = datetime.datetime.fromtimestamp(os.path.getmtime(folder)).astimezone()
    return Run(folder, {}, record, "finished", started, curves, None, ())
