"""Figures and tables in loggers: the one place that knows how each logger takes them."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger

from .figures import decode_png
from .metrics_logger import MetricsLogger
from .robustness import COLUMNS, Robustness
from .scores import Score, flat_scores

Rows = Sequence[Sequence[Any]]

_SCORE_COLUMNS = "score", "value", "low", "high"


class _Panels(Protocol):
    """How one kind of logger takes figures and tables. The names are like those of metrics: ``test/worst_mistakes``."""

    def log_scalars(self, logger: Any, values: Mapping[str, float], step: int) -> None: ...

    def log_figure(self, logger: Any, name: str, path: Path, step: int) -> None: ...

    def log_table(self, logger: Any, name: str, columns: Sequence[str], rows: Rows, step: int) -> None: ...


class _WandbPanels:
    """For Lightning's ``WandbLogger``, and for other loggers with its methods ``log_image`` and ``log_table``."""

    def log_scalars(self, logger: Any, values: Mapping[str, float], step: int) -> None:
        if hasattr(logger, "log_table"):  # others, such as CSV files, have a row for each step
            logger.log_metrics(values, step)

    def log_figure(self, logger: Any, name: str, path: Path, step: int) -> None:
        if hasattr(logger, "log_image"):
            logger.log_image(name, [str(path)], step=step)

    def log_table(self, logger: Any, name: str, columns: Sequence[str], rows: Rows, step: int) -> None:
        if hasattr(logger, "log_table"):
            logger.log_table(name, columns=list(columns), data=[list(row) for row in rows], step=step)


class _TensorBoardPanels:
    """Images, and tables as Markdown under *Text*."""

    def log_scalars(self, logger: TensorBoardLogger, values: Mapping[str, float], step: int) -> None:
        logger.log_metrics(values, step)

    def log_figure(self, logger: TensorBoardLogger, name: str, path: Path, step: int) -> None:
        pixels = decode_png(path.read_bytes())
        logger.experiment.add_image(name, pixels, step, dataformats="HWC" if pixels.ndim == 3 else "HW")

    def log_table(self, logger: TensorBoardLogger, name: str, columns: Sequence[str], rows: Rows, step: int) -> None:
        lines = [columns, ["---"] * len(columns), *rows]
        cells = ((str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) for line in lines)
        logger.experiment.add_text(name, "\n".join(f"| {' | '.join(line)} |" for line in cells), step)


class _MLflowPanels:
    """Artifacts of the run: a PNG file or a CSV file, which MLflow shows."""

    def log_scalars(self, logger: MLFlowLogger, values: Mapping[str, float], step: int) -> None:
        logger.log_metrics(values, step)

    def log_figure(self, logger: MLFlowLogger, name: str, path: Path, step: int) -> None:
        logger.experiment.log_artifact(logger.run_id, str(path), str(Path(name).parent))

    def log_table(self, logger: MLFlowLogger, name: str, columns: Sequence[str], rows: Rows, step: int) -> None:
        text = io.StringIO()
        csv.writer(text).writerows([columns, *rows])
        logger.experiment.log_text(logger.run_id, text.getvalue(), f"{name}.csv")


class _NoPanels:
    """The run's folder has the figures and tables already."""

    def log_scalars(self, logger: Any, values: Mapping[str, float], step: int) -> None: ...

    def log_figure(self, logger: Any, name: str, path: Path, step: int) -> None: ...

    def log_table(self, logger: Any, name: str, columns: Sequence[str], rows: Rows, step: int) -> None: ...


_KINDS: tuple[tuple[type[Logger], _Panels], ...] = (
    (MetricsLogger, _NoPanels()),
    (TensorBoardLogger, _TensorBoardPanels()),
    (MLFlowLogger, _MLflowPanels()),
    (Logger, _WandbPanels()),
)


def _panels_of(logger: Logger) -> _Panels:
    return next(panels for kind, panels in _KINDS if isinstance(logger, kind))


@rank_zero_only
def log_figure(loggers: Iterable[Logger], name: str, path: Path, step: int) -> None:
    """Logs a figure to each logger that takes images.

    Args:
        loggers: the trainer's loggers.
        name: the figure's name, such as ``train/first_batch``.
        path: the figure as a PNG file.
        step: the optimizer step.
    """
    for logger in loggers:
        _panels_of(logger).log_figure(logger, name, path, step)


@rank_zero_only
def log_evaluation(loggers: Iterable[Logger], evaluation: Mapping[str, Any], figures: Path, step: int) -> None:
    """Logs a test's confusion matrix, its scores, those of each class, and the worst mistakes to each logger.

    Each score and the ends of its interval are metrics, too: ``test/macro_f1``, ``test/macro_f1_low``.

    A logger that has a method ``log_evaluation``, such as ours for W&B, gets the evaluation as a whole.

    Args:
        loggers: the trainer's loggers.
        evaluation: the content of ``evaluation.json``.
        figures: the folder with ``confusion_matrix.png``, ``reliability.png`` and, if there are mistakes,
            ``worst_mistakes.png``.
        step: the optimizer step.
    """
    for logger in loggers:
        if hasattr(logger, "log_evaluation"):
            logger.log_evaluation(evaluation, step)
            continue
        panels = _panels_of(logger)
        panels.log_scalars(logger, further_scores(evaluation), step)
        panels.log_figure(logger, "test/confusion_matrix", figures / "confusion_matrix.png", step)
        panels.log_figure(logger, "test/reliability", figures / "reliability.png", step)
        for name, (columns, rows) in score_tables(evaluation).items():
            panels.log_table(logger, name, columns, rows, step)
        if mistakes := evaluation["mistakes"]:
            panels.log_figure(logger, "test/worst_mistakes", figures / "worst_mistakes.png", step)
            columns = ["image", "label", "prediction", "confidence"]
            rows = [[mistake[column] for column in columns] for mistake in mistakes]
            panels.log_table(logger, "test/worst_mistakes", columns, rows, step)


@rank_zero_only
def log_robustness(loggers: Iterable[Logger], found: Robustness, figure: Path | None, step: int) -> None:
    """Logs the accuracy on corrupted images to each logger.

    Args:
        loggers: the trainer's loggers.
        found: the accuracies.
        figure: their figure as a PNG file; None if there is none.
        step: the optimizer step.
    """
    for logger in loggers:
        logger.log_metrics(found.metrics(), step)
        panels = _panels_of(logger)
        panels.log_table(logger, "corruptions/accuracy", COLUMNS, found.rows(), step)
        if figure is not None:
            panels.log_figure(logger, "corruptions/figure", figure, step)


def score_tables(evaluation: Mapping[str, Any]) -> dict[str, tuple[Sequence[str], list[list[Any]]]]:
    """Returns the tables of an evaluation, each with its columns and rows: scores, those of each class, reliability."""
    columns = ["images", "precision", "f1", "recall_low", "recall_high"]
    bins = [list(row.values()) for row in evaluation["reliability"]["bins"]]
    of_classes = [[row["name"], row["recall"], *(row[name] for name in columns)] for row in evaluation["by_class"]]
    return {
        "test/scores": (_SCORE_COLUMNS, _score_rows(evaluation)),
        "test/per_class_accuracy": (["class", "accuracy", *columns], of_classes),
        "test/reliability_bins": (["low", "high", "images", "right", "confidence"], bins),
    }


@rank_zero_only
def log_label_scores(
    loggers: Iterable[Logger], evaluation: Mapping[str, Any], mistakes: Path | None, step: int
) -> None:
    """Logs the scores of a test with several labels for each image, and those of each label, to each logger.

    Args:
        loggers: the trainer's loggers.
        evaluation: the content of ``evaluation.json``.
        mistakes: a picture of the worst mistakes; None if there are none.
        step: the optimizer step.
    """
    columns = list(evaluation["by_class"][0])
    rows = [[row[column] for column in columns] for row in evaluation["by_class"]]
    for logger in loggers:
        panels = _panels_of(logger)
        panels.log_scalars(logger, further_scores(evaluation), step)
        panels.log_table(logger, "test/scores", _SCORE_COLUMNS, _score_rows(evaluation), step)
        panels.log_table(logger, "test/per_label_scores", columns, rows, step)
        if mistakes is not None:
            panels.log_figure(logger, "test/worst_mistakes", mistakes, step)


def further_scores(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Returns the scores and the ends of their intervals as metrics, without those that are logged already."""
    found = flat_scores({name: Score.parse(score) for name, score in evaluation["scores"].items()})
    return {name: value for name, value in found.items() if name not in evaluation["metrics"]}


def _score_rows(evaluation: Mapping[str, Any]) -> list[list[Any]]:
    return [[name, score["value"], score["low"], score["high"]] for name, score in evaluation["scores"].items()]
