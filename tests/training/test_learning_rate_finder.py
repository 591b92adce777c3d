"""Lightning's search for a learning rate in a run that is resumed."""

import signal

import pytest

from resnet_lightning.cli.main import main
from runs_alike import DIGITS, SMALL, assert_same_run, with_callbacks

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")


def test_a_resumed_run_keeps_the_learning_rate_that_was_found():
    finder = {"LearningRateFinder": {"num_training_steps": 6, "max_lr": 0.1}}
    short = ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "6", "--trainer.accelerator", "cpu"]
    fit = ["fit", "--config", DIGITS, *SMALL, *short]
    stopping = with_callbacks("stopping", Seen={"folder": "seen", "stop_at": [1, 2]}, **finder)
    assert main([*fit, *stopping, "--resume", "stopped"]) == 128 + signal.SIGTERM
    assert main([*fit, *with_callbacks("finding", **finder), "--resume", "stopped"]) == 0
    assert main([*fit, "--config", "finding.yaml", "--resume", "whole"]) == 0
    assert_same_run("stopped", "whole")
