"""Reads the folders of runs: config, record, metrics and evaluation."""

import csv
import datetime
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from .lock import is_held
from .readable import UNREADABLE, parse_json, parse_yaml, read_text
from .reliability import Reliability
from .results_by_image import ResultsByImage, parse_results_by_image
from .robustness import FILE, Robustness
from .scores import Score, class_scores, flat_scores, scores

T = TypeVar("T")

Points = list[tuple[int, float]]
"""Pairs (epoch, value), at most one for each epoch."""

_LAST_EPOCH = 10**9  # a larger number is damage

_STATES = "running", "finished", "stopped", "failed"
# The fields of `run.json` that are read, and their types.
_TYPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("name", "command", "first_command", "state", "started", "ended", "device", "net", "reason"), str),
    **dict.fromkeys(("training_seconds", "images_per_second"), (int, float)),
    **{"parameters": int, "git": dict, "versions": dict},
}


@dataclass(frozen=True)
class Evaluation:
    """The content of ``evaluation.json``.

    Args:
        classes: the name of each row of the confusion matrix.
        confusion: the number of images by class (rows) and prediction (columns), (K, K); empty if an image may have
            several labels.
        metrics: the test metrics, such as ``test/acc``.
        mistakes: the mistakes, sorted by confidence in descending order; each has image, label, prediction, confidence
            and png (in base64).
        by_image: which test images are classified correctly; None if that is unknown.
        images: the number of test images; None if that is unknown.
        scores: the scores of the test, with their 95 % intervals.
        by_class: the scores of each class, or of each label if an image may have several.
        reliability: the confidences beside the accuracy; None if they are unknown.
    """

    classes: list[str]
    confusion: list[list[int]]
    metrics: dict[str, float]
    mistakes: list[dict[str, Any]]
    by_image: ResultsByImage | None = None
    images: int | None = None
    scores: dict[str, Score] = field(default_factory=dict)
    by_class: list[dict[str, Any]] = field(default_factory=list)
    reliability: Reliability | None = None

    def further_metrics(self) -> dict[str, float]:
        """The scores and the ends of their intervals, by the names of metrics; see ``flat_scores``.

        Metrics that the run has logged under such a name stay what they are.
        """
        return {name: value for name, value in flat_scores(self.scores).items() if name not in self.metrics}


@dataclass(frozen=True)
class Run:
    """The content of a run's folder.

    Args:
        folder: the run's folder.
        config: the complete config, nested; empty if it cannot be read.
        record: the content of ``run.json``, without values of the wrong type.
        state: ``running``, ``finished``, ``stopped``, ``failed``, ``killed``, or ``unknown`` without a ``run.json``.
        started: the start time, with its time zone.
        curves: the logged values, by metric.
        evaluation: the content of ``evaluation.json``; None if the run was not tested.
        notes: a message for each file that is missing or damaged.
        robustness: the content of ``corruptions.json``; None if the run was not tested on corrupted images.
    """

    folder: Path
    config: dict[str, Any]
    record: dict[str, Any]
    state: str
    started: datetime.datetime
    curves: dict[str, Points]
    evaluation: Evaluation | None
    notes: tuple[str, ...]
    robustness: Robustness | None = None

    @property
    def name(self) -> str:
        """The name of the config, such as ``"digits"``."""
        return self.record.get("name") or self.folder.absolute().parent.name

    @property
    def epochs(self) -> int:
        """The number of completed epochs."""
        usual: tuple[str, ...] = ("train/loss", "val/loss", "val/acc")
        names = [name for name in usual if name in self.curves][:1]
        if not names:  # a module of the user's own; the learning rate is logged when an epoch begins
            names = [name for name in self.curves if not name.startswith(("lr-", "test"))]
        return max((self.curves[name][-1][0] + 1 for name in names), default=0)

    @property
    def max_epochs(self) -> int | None:
        """The configured number of epochs; None if the run has another limit."""
        limit = self.setting("trainer.max_epochs")
        return limit if isinstance(limit, int) and limit >= 0 else None

    @property
    def is_complete(self) -> bool:
        """Whether the run reached its end, so that its last values are its results."""
        return self.state == "finished" or (self.state == "unknown" and self.last("test/acc") is not None)

    def setting(self, key: str) -> Any:
        """The value of the config at a key such as ``"trainer.max_epochs"``; None if there is none."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    @property
    def monitor(self) -> str | None:
        """The metric that chooses the best checkpoint; None if the config names none."""
        monitor = self.setting("checkpoint.monitor")
        return monitor if isinstance(monitor, str) else None

    def last(self, metric: str) -> float | None:
        """The last logged value of a metric; without one, the value or score in ``evaluation.json``."""
        if metric in self.curves:
            return self.curves[metric][-1][1]
        if self.evaluation is None:
            return None
        return self.evaluation.metrics.get(metric, self.evaluation.further_metrics().get(metric))

    def accuracy_score(self) -> Score | None:
        """The accuracy of the test with its interval; None if it is not that of ``test/acc``.

        A module may log another accuracy, and a metric may be that of another test.
        """
        logged, found = self.last("test/acc"), self.evaluation.scores if self.evaluation else {}
        score = found.get("accuracy") or found.get("images with all labels right")
        return score if score and logged is not None and abs(score.value - logged) < 5e-5 else None

    def best_monitored(self) -> tuple[float, float]:
        """Sort key: the best value of the monitored metric, ties broken by validation accuracy.

        Larger is better, whatever the run's ``checkpoint.mode``.
        """
        points = self.curves.get(self.monitor or "", [])
        sign = -1 if self.setting("checkpoint.mode") == "min" else 1
        best = max((sign * value for _, value in points if math.isfinite(value)), default=-math.inf)
        return best, self.best_accuracy() or 0.0

    def best_epoch(self) -> int | None:
        """The first epoch with the best value of the monitored metric; None if there is none."""
        points = [(epoch, value) for epoch, value in self.curves.get(self.monitor or "", []) if math.isfinite(value)]
        sign = -1 if self.setting("checkpoint.mode") == "min" else 1
        return max(points, key=lambda point: (sign * point[1], -point[0]))[0] if points else None

    def best_accuracy(self) -> float | None:
        """The highest validation accuracy."""
        return max((value for _, value in self.curves.get("val/acc", []) if math.isfinite(value)), default=None)


def read_run(folder: str | Path) -> Run:
    """Reads a run's folder. Missing and damaged files are left out and listed in ``Run.notes``.

    Raises:
        InputError: if it is not the folder of a run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r}; `lightning runs` lists the folders of runs")
    if not os.path.lexists(folder / "config.yaml"):
        raise InputError(
            f"there is no run in {str(folder)!r}: it has no config.yaml; give a folder that `lightning fit` made"
        )
    notes: list[str] = []
    config = _read(folder / "config.yaml", _parse_config, notes) or {}
    record, state = _read_record(folder, notes)
    curves = _read(folder / "metrics.csv", parse_metrics, notes) or {}
    if not curves and "metrics.csv is damaged" not in notes:
        notes.append("no metrics were logged" if (folder / "metrics.csv").exists() else "there is no metrics.csv")
    evaluation = _read(folder / "evaluation.json", _parse_evaluation, notes)
    robustness = _read(folder / FILE, Robustness.parse, notes)
    started = _start_time(folder, record)
    return Run(folder, config, record, state, started, curves, evaluation, tuple(notes), robustness)


def _read(file: Path, parse: Callable[[str], T], notes: list[str]) -> T | None:
    """Returns the parsed content of a file; None if it is missing or damaged. A damaged file adds one note."""
    try:
        return parse(read_text(file))
    except FileNotFoundError:
        return None
    except UNREADABLE:
        note = f"{file.name} is damaged"
        if note not in notes:
            notes.append(note)
        return None


def find_runs(base: str | Path) -> list[Run]:
    """All runs in a folder, at any depth, the newest first."""
    runs = [read_run(folder) for folder in _folders_below(Path(base))]
    return sorted(runs, key=lambda run: (run.started, str(run.folder)), reverse=True)


def _folders_below(base: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(base):
        below[:] = [name for name in below if not name.startswith(".")]
        if "config.yaml" in files:
            below.clear()  # runs are not nested
            if Path(folder).parts[-3:-2] != ("wandb",):  # W&B writes a config.yaml to wandb/run-.../files
                yield Path(folder)


def _parse_config(text: str) -> dict[str, Any]:
    config = parse_yaml(text)
    if not isinstance(config, dict):
        raise TypeError("not a mapping")
    return config


def _read_record(folder: Path, notes: list[str]) -> tuple[dict[str, Any], str]:
    """Returns the content of ``run.json`` and the run's state. That of a killed run is found by its lock."""
    record = _read(folder / "run.json", _parse_record, notes) or {}
    if record.get("state") not in _STATES:
        return record, "running" if is_held(folder) else "unknown"
    if record["state"] == "running" and not is_held(folder):
        record = _read(folder / "run.json", _parse_record, notes) or {}  # it may have ended meanwhile
        return record, "killed" if record.get("state") == "running" else record.get("state", "unknown")
    return record, record["state"]


def _parse_record(text: str) -> dict[str, Any]:
    read = parse_json(text)
    record = {name: read[name] for name, types in _TYPES.items() if isinstance(read.get(name), types)}
    if not isinstance(record.get("git", {}).get("commit", ""), str):
        del record["git"]
    return record


def _start_time(folder: Path, record: dict[str, Any]) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(record.get("started", "")).astimezone()
    except ValueError:  # an older run, without a run.json
        pass
    try:
        return datetime.datetime.strptime(folder.absolute().name[:19], "%Y-%m-%d_%H-%M-%S").astimezone()
    except ValueError:
        return datetime.datetime.fromtimestamp((folder / "config.yaml").stat().st_mtime).astimezone()


def parse_metrics(text: str) -> dict[str, Points]:
    """The content of a ``metrics.csv``: for each metric, the last value of each epoch."""
    curves: dict[str, dict[int, float]] = {}
    for row in csv.DictReader(text.splitlines()):
        for name, cell in row.items():
            if cell and row.get("epoch") and name not in (None, "epoch", "step"):
                try:
                    epoch, value = int(row["epoch"]), float(cell)
                except ValueError:  # an incomplete line
                    continue
                if 0 <= epoch <= _LAST_EPOCH:
                    curves.setdefault(name, {})[epoch] = value
    return {name: sorted(points.items()) for name, points in curves.items() if points}


def _parse_evaluation(text: str) -> Evaluation:
    read = parse_json(text)
    metrics = {str(name): float(value) for name, value in read.get("metrics", {}).items()}
    mistakes = [{**mistake, "confidence": float(mistake["confidence"])} for mistake in read.get("mistakes", [])]
    stored = {str(name): Score.parse(score) for name, score in (read.get("scores") or {}).items()}
    if read.get("multilabel") is True:
        images = None if read.get("images") is None else int(read["images"])
        rows = [_parse_row(row) for row in read.get("by_class", [])]
        return Evaluation([*map(str, read["classes"])], [], metrics, mistakes, None, images, stored, rows)
    confusion = [[int(count) for count in row] for row in read["confusion"]]
    if not confusion or any(len(row) != len(confusion) for row in confusion):
        raise ValueError("the confusion matrix is not square")
    classes = [*map(str, read["classes"]), *map(str, range(len(read["classes"]), len(confusion)))][: len(confusion)]
    by_image = parse_results_by_image(read.get("by_image"))
    images, right = sum(map(sum, confusion)), sum(row[k] for k, row in enumerate(confusion))
    if images and ("accuracy" not in stored or abs(stored["accuracy"].value - right / images) > 1e-6):
        stored = scores(confusion)  # an older run has none
    rows = [asdict(row) for row in class_scores(classes, confusion)]
    reliable = None if read.get("reliability") is None else Reliability.parse(read["reliability"])
    if reliable and sum(one.images for one in reliable.bins) != images:
        reliable = None  # of another test
    return Evaluation(classes, confusion, metrics, mistakes, by_image, images, stored, rows, reliable)


def _parse_row(row: dict[str, Any]) -> dict[str, Any]:
    """Returns the scores of a label: its name, counts and numbers; None where there is no image."""
    values = {str(key): None if value is None else float(value) for key, value in row.items() if key != "name"}
    counts = {key: int(row[key]) for key in ("images", "missed", "wrongly_predicted")}
    return {"name": str(row["name"]), **values, **counts}
