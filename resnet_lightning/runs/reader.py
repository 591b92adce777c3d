"""The folders of runs, read: what each run is, and how far it has come."""

import csv
import datetime
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..errors import InputError
from .lock import is_held

T = TypeVar("T")

Points = list[tuple[int, float]]
"""(epoch, value), a point for each epoch."""

_STATES = "running", "finished", "stopped", "failed"
_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("name", "command", "state", "started", "ended", "device", "net"), str),
    **dict.fromkeys(("training_seconds", "images_per_second"), (int, float)),
    **{"parameters": int, "git": dict, "versions": dict},
}


@dataclass(frozen=True)
class Tested:
    """What ``evaluation.json`` holds.

    Args:
        classes: a name for each row of the confusion matrix.
        confusion: images by class and prediction, (K, K).
        metrics: such as ``test/acc``.
        mistakes: the worst first, each with image, label, prediction, confidence and png (in base64).
    """

    classes: list[str]
    confusion: list[list[int]]
    metrics: dict[str, float]
    mistakes: list[dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """What a run's folder says.

    Args:
        folder: of the run.
        config: the whole of it, nested; empty where it cannot be read.
        record: what ``run.json`` says, without what is not of the right type.
        state: ``running``, ``finished``, ``stopped``, ``failed``, ``killed``, or ``unknown`` without a ``run.json``.
        started: when, with the time zone.
        curves: what was logged, by metric.
        tested: what ``evaluation.json`` says.
        notes: what is missing or damaged.
    """

    folder: Path
    config: dict[str, Any]
    record: dict[str, Any]
    state: str
    started: datetime.datetime
    curves: dict[str, Points]
    tested: Tested | None
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the config, such as ``"digits"``."""
        return self.record.get("name") or self.folder.absolute().parent.name

    @property
    def epochs(self) -> int:
        """How many were done."""
        logged = (self.curves[name] for name in ("train/loss", "val/loss", "val/acc") if name in self.curves)
        return next((points[-1][0] + 1 for points in logged), 0)

    @property
    def max_epochs(self) -> int | None:
        """How many there were to be, where that is what ended the run."""
        wanted = self.setting("trainer.max_epochs")
        return wanted if isinstance(wanted, int) and wanted >= 0 else None

    @property
    def is_complete(self) -> bool:
        """Whether its last values are those that it was to end with."""
        return self.state == "finished" or (self.state == "unknown" and self.last("test/acc") is not None)

    def setting(self, key: str) -> Any:
        """The value in the config at a key such as ``"trainer.max_epochs"``."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def last(self, metric: str) -> float | None:
        if metric in self.curves:
            return self.curves[metric][-1][1]
        return self.tested.metrics.get(metric) if self.tested else None

    def best_monitored(self) -> tuple[float, float]:
        """What its best checkpoint was chosen by, and the accuracy that parts those of which that is the same.

        The larger the better, whatever the run's ``checkpoint.mode`` is.
        """
        points = self.curves.get(self.setting("checkpoint.monitor") or "", [])
        sign = -1 if self.setting("checkpoint.mode") == "min" else 1
        best = max((sign * value for _, value in points if math.isfinite(value)), default=-math.inf)
        return best, self.best_accuracy() or 0.0

    def best_accuracy(self) -> float | None:
        """The highest on the validation images."""
        return max((value for _, value in self.curves.get("val/acc", []) if math.isfinite(value)), default=None)


def read_run(folder: str | Path) -> Run:
    """Reads a run's folder. What is missing or damaged in it is left out, and noted.

    Raises:
        InputError: where it is no folder of a run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}; `resnet-lightning runs` lists those of runs")
    if not (folder / "config.yaml").is_file():
        raise InputError(
            f"there is no run in {str(folder)!r}, which has no config.yaml; give what `lightning fit` made"
        )
    parts = _Parts(folder)
    config = parts.read("config.yaml", _parse_config) or {}
    record, state = _read_record(folder, parts)
    curves = parts.read("metrics.csv", parse_metrics) or {}
    if not curves and "metrics.csv is damaged" not in parts.notes:
        parts.notes["no metrics were logged" if (folder / "metrics.csv").exists() else "there is no metrics.csv"] = None
    tested = parts.read("evaluation.json", _parse_evaluation)
    return Run(folder, config, record, state, _start_of(folder, record), curves, tested, tuple(parts.notes))


class _Parts:
    """Reads the files of a run's folder, and notes (once each) those that cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: dict[str, None] = {}

    def read(self, name: str, parse: Callable[[str], T]) -> T | None:
        try:
            return parse((self.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, csv.Error, yaml.YAMLError):
            self.notes[f"{name} is damaged"] = None
            return None


def find_runs(base: str | Path) -> list[Run]:
    """All runs at and below a folder, the newest first."""
    runs = [read_run(folder) for folder in _folders_below(Path(base))]
    return sorted(runs, key=lambda run: (run.started, str(run.folder)), reverse=True)


def _folders_below(base: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(base):
        below[:] = [name for name in below if not name.startswith(".")]
        if "config.yaml" in files:
            below.clear()  # a run holds no runs
            if Path(folder).parts[-3:-2] != ("wandb",):  # whose run-.../files has a config.yaml too
                yield Path(folder)


def _parse_config(text: str) -> dict[str, Any]:
    config = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # ten times faster where it is there
    if not isinstance(config, dict):
        raise TypeError("not a mapping")
    return config


def _read_record(folder: Path, parts: _Parts) -> tuple[dict[str, Any], str]:
    """What ``run.json`` says, and the state of the run, which may have had no time to write it."""
    record = parts.read("run.json", _parse_record) or {}
    if record.get("state") not in _STATES:
        return record, "running" if is_held(folder) else "unknown"
    if record["state"] == "running" and not is_held(folder):
        record = parts.read("run.json", _parse_record) or {}  # it may have ended since
        return record, "killed" if record.get("state") == "running" else record.get("state", "unknown")
    return record, record["state"]


def _parse_record(text: str) -> dict[str, Any]:
    read = json.loads(text)
    record = {name: read[name] for name, types in _TYPES.items() if isinstance(read.get(name), types)}
    if not isinstance(record.get("git", {}).get("commit", ""), str):
        del record["git"]
    return record


def _start_of(folder: Path, record: dict[str, Any]) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(record.get("started", "")).astimezone()
    except ValueError:  # a run of before there was a run.json
        pass
    try:
        return datetime.datetime.strptime(folder.absolute().name[:19], "%Y-%m-%d_%H-%M-%S").astimezone()
    except ValueError:
        return datetime.datetime.fromtimestamp((folder / "config.yaml").stat().st_mtime).astimezone()


def parse_metrics(text: str) -> dict[str, Points]:
    """What ``metrics.csv`` holds: for each metric, a value an epoch."""
    curves: dict[str, dict[int, float]] = {}
    for row in csv.DictReader(text.splitlines()):
        for name, cell in row.items():
            if cell and row.get("epoch") and name not in (None, "epoch", "step"):
                try:  # the last of an epoch that has several
                    curves.setdefault(name, {})[int(row["epoch"])] = float(cell)
                except ValueError:  # a line that was being written
                    continue
    return {name: sorted(points.items()) for name, points in curves.items() if points}


def _parse_evaluation(text: str) -> Tested:
    read = json.loads(text)
    confusion = [[int(count) for count in row] for row in read["confusion"]]
    if not confusion or any(len(row) != len(confusion) for row in confusion):
        raise ValueError("not a square")
    classes = [*map(str, read["classes"]), *map(str, range(len(read["classes"]), len(confusion)))][: len(confusion)]
    metrics = {str(name): float(value) for name, value in read.get("metrics", {}).items()}
    mistakes = [{**mistake, "confidence": float(mistake["confidence"])} for mistake in read.get("mistakes", [])]
    return Tested(classes, confusion, metrics, mistakes)


# What is shown of them.


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}" if math.isfinite(share) else str(share)


def epochs(run: Run) -> str:
    return f"{run.epochs}/{run.max_epochs}" if run.max_epochs is not None else str(run.epochs)
