"""The lines and tables that a run prints before it starts and after it ends."""

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.fabric.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..runs import figures
from ..runs.reader import read_run
from ..training.callbacks import Evaluation, MultilabelEvaluation
from ..training.data_protocol import image_data
from ..training.model_protocol import backbone_of, net_name, runs_stage
from .checkpoint_config import trust_option


@dataclass(frozen=True)
class TrainingResult:
    """The results that are printed after a training.

    Attributes:
        folder: the run's folder.
        seconds: the duration, including validation.
        images_per_second: the training speed, without validation.
        best: path of the checkpoint that was tested; empty if there is none.
        last: path of the checkpoint to resume from.
    """

    folder: Path
    seconds: float
    images_per_second: float
    best: str
    last: str


@rank_zero_only
def print_line(console: Console, text: str) -> None:
    """Prints a line with rich's markup, in the first process only."""
    console.print(text, highlight=False, soft_wrap=True)


@rank_zero_only
def print_table(console: Console, rows: Mapping[str, str | Text]) -> None:
    """Prints a table of names and values, in the first process only. Square brackets in them are no markup."""
    table = Table(show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(escape(name), value if isinstance(value, Text) else escape(value))
    console.print(table)


def print_start(console: Console, name: str, model: LightningModule, trainer: Trainer, folder: Path | None) -> None:
    """Prints what is about to be trained, on which devices and in which folder."""
    where = f", in {escape(str(folder))}" if folder else ""
    device = trainer.strategy.root_device.type
    print_line(console, f"[bold]{escape(name)}[/]: {escape(_size(model))} on {trainer.world_size} x {device}{where}")


def print_resumption(console: Console, checkpoint_path: str, step: int, changes: Sequence[str]) -> None:
    """Prints the checkpoint that a training resumes from, and the changes of its config."""
    print_line(console, f"Resumes from step {step:,} of {escape(checkpoint_path)}")
    for change in changes:
        print_line(console, f"[yellow]{escape(change)}")


def print_result(console: Console, result: TrainingResult, model: LightningModule, trainer: Trainer) -> None:
    """Prints the results of a training, and useful next commands."""
    speed = f"; {result.images_per_second:,.0f} images a second without it" if result.images_per_second else ""
    print_table(
        console,
        {
            **_test_results(trainer),
            "model": _size(model),
            "training": f"{result.seconds:.1f} s with validation{speed}",
            "folder": str(result.folder),
        },
    )
    if result.best:
        length = length_option(trainer)
        best, last = shlex.quote(result.best), shlex.quote(result.last)
        data = trainer.datamodule  # type: ignore[attr-defined]
        commands = {}
        if runs_stage("test", model, data):
            commands["test it again"] = f"test --ckpt_path {best}"
        if image_data(trainer) is not None and runs_stage("predict", model, data):
            commands["label your images"] = f"predict {best} FOLDER"
        commands["train longer"] = f"fit --ckpt_path {last} --trainer.{length} N"
        trust = trust_option(result.folder)
        for purpose, command in commands.items():
            print_line(console, f"[dim]{purpose:18}[/] {escape(f'{program()} {command}{trust}')}")


def length_option(trainer: Trainer) -> str:
    """Returns the name of the option that decides on the length of a training."""
    return "max_steps" if (trainer.max_steps or 0) > 0 else "max_epochs"


def _test_results(trainer: Trainer) -> dict[str, str | Text]:
    """Returns a row with the test accuracy, and one for each metric that the config adds, with its values by class.

    If a module does not log ``test/acc``, there is a row for each test metric.
    """
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("test")}
    labels = _scores(trainer, MultilabelEvaluation)
    if labels:
        known = ("test/acc", "test/loss", "test/mAP", "test/f1")
        rest = {name: f"{value:.4f}" for name, value in metrics.items() if name not in known}
        (first, score), *others = labels.items()
        return {first: Text(score, style="bold green"), **dict(others), **rest}
    if "test/acc" in metrics:
        own: dict[str, list[str]] = {}
        for name, value in metrics.items():
            if name not in ("test/acc", "test/acc5", "test/loss"):
                metric, _, of_class = name.removeprefix("test/").partition("/")
                own.setdefault(f"test {metric}", []).append(f"{of_class} {value:.4f}".lstrip())
        accuracy = f"{metrics['test/acc']:.2%}"
        found = _scores(trainer)
        if found.get("test accuracy", "").startswith(accuracy):  # a module of one's own may log another accuracy
            accuracy = found.pop("test accuracy")
        rows = {name: ", ".join(values) for name, values in own.items()}
        return {"test accuracy": Text(accuracy, style="bold green"), **found, **rows}
    return {**{name: f"{value:.4f}" for name, value in metrics.items()}, **_scores(trainer)}


def _scores(trainer: Trainer, kind: type[Any] = Evaluation) -> dict[str, str]:
    """Returns rows with the scores of a test and their intervals; none if there is no confusion matrix."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    tests = [callback for callback in callbacks if isinstance(callback, kind) and callback.scores]
    if not tests:
        return {}
    images = f", {tests[0].images:,} images"
    return {f"test {name}": f"{score}{images if name == 'accuracy' else ''}" for name, score in tests[0].scores.items()}


def print_metrics(console: Console, trainer: Trainer) -> None:
    """Prints every metric of a validation or test, or that there is none."""
    metrics = {name: f"{value.item():.4f}" for name, value in trainer.callback_metrics.items()}
    rows = {**metrics, **_scores(trainer), **_scores(trainer, MultilabelEvaluation)}
    if rows:
        print_table(console, rows)
    else:
        print_line(console, "[yellow]The module logged no metric.")


@rank_zero_only
def draw_learning_curves(folder: Path) -> None:
    """Draws the losses and accuracies in a run's ``metrics.csv``, and writes the figure to its folder."""
    run = read_run(folder)
    shown = dict.fromkeys(("train/loss", "val/loss", "train/acc", "val/acc", run.monitor or ""))
    curves = {metric: run.curves[metric] for metric in shown if metric in run.curves}
    if curves:
        best = run.best_epoch()
        marked = best if best is None else (str(run.monitor), best)
        figure = figures.learning_curves(curves, marked, of_label_sets="val/mAP" in run.curves)
        figures.save(figure, folder / "pictures" / "learning_curves.png")


def program() -> str:
    """Returns the command by which the user called this program."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m resnet_lightning"
    on_path = shutil.which(called.name)
    return called.name if on_path and Path(on_path).resolve() == called.resolve() else shlex.quote(str(called))


def _size(model: LightningModule) -> str:
    """Returns the name of the network and its size, which is unknown before ``configure_model`` has built it."""
    count = sum(parameter.numel() for parameter in (backbone_of(model) or model).parameters())
    return f"{net_name(model)}, {count:,} parameters" if count else net_name(model)
