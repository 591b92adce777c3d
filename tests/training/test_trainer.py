"""Which callbacks, loggers and plugins the trainer of a run gets, and in which order."""

import pytest
from lightning import Callback
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import LearningRateMonitor, RichProgressBar
from lightning.pytorch.loggers import CSVLogger
from rich.console import Console

from resnet_lightning import InputError
from resnet_lightning.training.callbacks import BestCheckpoint, LastCheckpoint, PredictionWriter, RunRecord
from resnet_lightning.training.trainer import evaluating_trainer, find_callback, training_trainer, tuning_trainer

DEFAULTS = {
    "accelerator": "cpu",
    "callbacks": None,
    "enable_checkpointing": None,
    "enable_model_summary": None,
    "enable_progress_bar": None,
    "logger": None,
    "plugins": None,
}
OURS = ["DataSummary", "Throughput", "FiniteLoss"]
OF_THE_FOLDER = ["ExactResume", "LoaderReplay", "RunRecord", "FirstBatch", "Evaluation", "MultilabelEvaluation"]


class Own(Callback):
    """A callback of the user's."""


@pytest.fixture
def record(tmp_path):
    return RunRecord("digits", "model: {}", tmp_path)


@pytest.fixture
def best():
    return BestCheckpoint(monitor="val/acc")


def names(trainer):
    return [type(callback).__name__ for callback in trainer.callbacks]


def test_the_last_checkpoint_comes_first_and_the_best_last(record, best, tmp_path):
    trainer = training_trainer({**DEFAULTS, "callbacks": [Own()]}, Console(), record, best)
    middle = ["GradientNorm", "Own", "RunProgress", "LearningRateMonitor", *OURS, *OF_THE_FOLDER]
    assert names(trainer) == ["LastCheckpoint", *middle, "MonitoredMetric", "BestCheckpoint"]
    assert find_callback(trainer, LastCheckpoint).folder == tmp_path / "checkpoints"
    assert best.dirpath == str(tmp_path / "checkpoints")
    (logger,) = trainer.loggers
    assert isinstance(logger, CSVLogger)


def test_callbacks_and_plugins_of_the_user_replace_ours(record, best):
    last, monitor, bar = LastCheckpoint(minutes=3), LearningRateMonitor(), RichProgressBar()
    plugin = TorchCheckpointIO()
    options = {**DEFAULTS, "callbacks": [monitor, last, bar], "plugins": plugin}
    trainer = training_trainer(options, Console(), record, best)
    own = ["LastCheckpoint", "GradientNorm", "LearningRateMonitor", "RichProgressBar"]
    assert names(trainer) == [*own, *OURS, *OF_THE_FOLDER, "MonitoredMetric", "BestCheckpoint"]
    assert find_callback(trainer, LastCheckpoint) is last
    assert trainer.strategy.checkpoint_io is plugin


def test_without_validation_there_is_no_best_checkpoint(record):
    trainer = training_trainer(DEFAULTS, Console(), record, None)
    assert names(trainer)[0] == "LastCheckpoint"
    assert trainer.checkpoint_callback is None


def test_without_checkpoints_the_folder_has_all_else(record, best):
    trainer = training_trainer({**DEFAULTS, "enable_checkpointing": False}, Console(), record, best)
    assert names(trainer) == ["GradientNorm", "RunProgress", "LearningRateMonitor", *OURS, *OF_THE_FOLDER]


def test_a_run_that_keeps_nothing_has_no_logger_and_no_checkpoints(best):
    trainer = training_trainer({**DEFAULTS, "enable_progress_bar": False}, Console(), None, best)
    assert names(trainer) == ["GradientNorm", *OURS]
    assert not trainer.loggers


def test_an_evaluation_has_only_what_it_needs(tmp_path):
    assert names(evaluating_trainer(DEFAULTS, Console(), [])) == ["RunProgress"]
    writer = PredictionWriter(tmp_path / "predictions.csv")
    assert names(evaluating_trainer(DEFAULTS, Console(), [writer])) == ["RunProgress", "PredictionWriter"]


def test_the_tuner_runs_without_callbacks():
    trainer = tuning_trainer({**DEFAULTS, "callbacks": [Own()], "max_epochs": 30})
    assert names(trainer) == []
    assert (trainer.max_steps, trainer.max_epochs) == (100, -1)


def test_a_strategy_that_does_not_exist_is_bad_input():
    with pytest.raises(InputError, match=r"trainer.strategy is 'nothing'; known: auto, ddp"):
        tuning_trainer({**DEFAULTS, "strategy": "nothing"})
