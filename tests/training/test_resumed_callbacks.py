"""Lightning's callbacks in a run that is resumed: it ends as if nothing had stopped it."""

import contextlib
import os
import signal

import pytest
from torch import nn

from resnet_lightning.cli.main import main
from resnet_lightning.runs.reader import read_run
from runs_alike import DIGITS, SMALL, assert_same_run, with_callbacks

pytestmark = [
    pytest.mark.usefixtures("in_an_empty_folder", "without_figures"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # weight averaging recommends schedules of epochs
]

SHORT = ["--trainer.max_epochs", "3", "--trainer.limit_train_batches", "4", "--trainer.accelerator", "cpu"]
AVERAGE = {"StochasticWeightAveraging": {"swa_lrs": 0.01, "swa_epoch_start": 1}}
STEPS = ["--model.scheduler", "StepLR", "--model.scheduler_args", "{step_size: 1}"]


@pytest.mark.parametrize(
    ("callback", "options"),
    [
        ({"LearningRateFinder": {"num_training_steps": 6, "max_lr": 0.1}}, []),
        (AVERAGE, STEPS),
    ],
    ids=["learning rate", "average"],
)
@pytest.mark.parametrize("moment", [[1, 2], [2, 1]], ids=str)
@pytest.mark.slow
def test_a_resumed_run_is_the_run_that_nothing_stopped(callback, options, moment):
    _assert_resumed(callback, options, moment)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [[3, 0], [3, -1]], ids=["images", "validation"])
def test_an_average_can_be_stopped_while_it_computes_the_statistics_of_its_norms(moment):
    _assert_resumed(AVERAGE, STEPS, moment)  # in an epoch that comes after all others


@pytest.mark.slow
def test_a_checkpoint_of_an_average_beyond_the_end_of_the_run_is_refused(capsys):
    fit = ["fit", "--config", DIGITS, *SMALL, *SHORT, *STEPS, *with_callbacks("alone", **AVERAGE)]
    assert main([*fit, "--resume", "run"]) == 0
    assert main([*fit, "--ckpt_path", "run/checkpoints/previous.ckpt", "--trainer.max_epochs", "2"]) == 2
    assert "is at epoch 3, but this run ends at epoch 2" in capsys.readouterr().err


class EndedInTheSearch(nn.CrossEntropyLoss):
    """Ends the run at its third batch: by a signal, or by an exception that another loss might raise."""

    def __init__(self, by):
        super().__init__()
        self.by, self.calls = by, 0

    def forward(self, logits, targets):
        self.calls += 1
        if self.calls == 3:
            if self.by == "exception":
                raise RuntimeError("a mistake in the loss")
            os.kill(os.getpid(), signal.SIGTERM)
        return super().forward(logits, targets)


@pytest.mark.parametrize(("by", "state"), [("signal", "stopped"), ("exception", "failed")])
def test_a_search_for_a_learning_rate_that_is_ended_is_recorded(by, state):
    """Lightning removes all callbacks while it searches."""
    search = with_callbacks("search", LearningRateFinder={"num_training_steps": 6})
    loss = ["--model.loss", f"{__name__}.EndedInTheSearch", "--model.loss_args", f"{{by: {by}}}"]
    with contextlib.suppress(RuntimeError):
        assert main(["fit", "--config", DIGITS, *SMALL, *SHORT, *search, *loss, "--resume", "run"]) == 143
    assert read_run("run").state == state


def _assert_resumed(callback, options, moment):
    fit = ["fit", "--config", DIGITS, *SMALL, *SHORT, *options]
    stopping = with_callbacks("stopping", Seen={"folder": "seen", "stop_at": moment}, **callback)
    assert main([*fit, *stopping, "--resume", "stopped"]) == 128 + signal.SIGTERM
    assert main([*fit, *with_callbacks("alone", **callback), "--resume", "stopped"]) == 0
    assert main([*fit, "--config", "alone.yaml", "--resume", "whole"]) == 0
    assert_same_run("stopped", "whole")
