"""Two processes that are stopped and resumed end bitwise where they would have ended."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from resnet_lightning.runs.checkpoint_io import is_whole
from resnet_lightning.runs.reader import read_run
from runs_alike import DDP, DIGITS, assert_equal, assert_same_run, may_go, reached, take_seen, wait_for, with_callbacks

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_an_empty_folder")]

STEPS = 8  # batches an epoch
EPOCHS = 2


def fit(*more: str, mixup: float = 0, accumulate: int = 1) -> list[str]:
    """The command of a training in two processes that draws random numbers wherever it can."""
    config = {
        "data": {
            "class_path": "DigitsDataModule",
            "init_args": {"batch_size": 24, "augment": {"crop": 1, "rotate": 10, "mixup": mixup}},
        },
        "model": {
            "backbone": "resnet_lightning.models.cifar.cifar_resnet",
            "backbone_args": {"depth": 8, "drop_path_rate": 0.3},
        },
        "trainer": {
            "max_epochs": EPOCHS,
            "limit_train_batches": STEPS,
            "accumulate_grad_batches": accumulate,
            "gradient_clip_val": 1.0,
            "log_every_n_steps": 1,
        },
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))
    return ["fit", "--config", DIGITS, "--config", "config.yaml", *DDP, *more]


def assert_saw_the_same(seen: dict, expected: dict) -> None:
    names = {f"{epoch}_{batch}_{rank}" for epoch in range(EPOCHS) for batch in range(STEPS) for rank in (0, 1)}
    assert set(expected) == names
    assert_equal(seen, expected, "seen")


def test_signals_stop_both_processes_which_resume_with_the_same_command(commands, warm):
    """SIGTERM to the main process alone, as `kill` sends it; Ctrl-C to both, as a terminal does.

    Here the command starts the second process itself, in the others somebody else does.
    """
    moments = {signal.SIGTERM: (0, 5), signal.SIGINT: (1, 3)}
    pauses = {"at": [list(moment) for moment in moments.values()]}
    command = fit(*with_callbacks("more", Seen={"folder": "seen"}, Pause=pauses), "--resume", "stopped")
    seen = {}
    for number, moment in moments.items():
        process = commands.start(*command)
        for rank in 0, 1:
            wait_for(reached(*moment, rank).exists, process)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        may_go(*moment).touch()
        code, printed, errors = commands.end_of(process)
        step = moment[0] * STEPS + moment[1] + 1
        assert code == (130 if number == signal.SIGINT else 143), errors
        assert printed.count(f"{number.name} stopped the training after step {step}. To resume:") == 1
        assert "Traceback" not in errors
        assert errors.count("Ctrl-C again ends it now") == (number == signal.SIGINT)
        last = Path("stopped/checkpoints/last.ckpt")
        assert is_whole(last)
        assert torch.load(last, weights_only=True)["global_step"] == step
        seen |= take_seen()
    printed = warm.run_together(*command)
    assert printed.count("Resumes from step 12 of stopped/checkpoints/last.ckpt") == 1
    seen |= take_seen()
    warm.run_together(*command[:-1], "whole")
    assert_saw_the_same(seen, take_seen())
    assert_same_run("stopped", "whole")


def test_an_average_accumulated_and_mixed_resumes_in_two_processes(warm):
    """Stopped at the end of an epoch and inside one, by a signal that reaches only the process that saves nothing."""
    average = {"decay": 0.8, "update_starting_at_step": 2}

    def command(folder: str, stop_at: list[int] | None = None) -> list[str]:
        callbacks = {"MovingAverage": average, "Seen": {"folder": "seen", "stop_at": stop_at}}
        return fit(*with_callbacks("more", **callbacks), "--resume", folder, mixup=0.4, accumulate=3)

    warm.run_together(*command("whole"))
    expected = take_seen()
    seen = {}
    # Of 8 batches an epoch, 3 make a step: two steps and one of the rest.
    for stop_at, step in (([0, -1], 3), ([1, 2], 4)):
        printed = warm.run_together(*command("stopped", stop_at), code=143)
        assert f"SIGTERM stopped the training after step {step}." in printed
        some = take_seen()
        assert not seen.keys() & some.keys(), "trained twice on a batch"
        seen |= some
    assert "Resumes from step 4 of" in warm.run_together(*command("stopped"))
    assert_saw_the_same(seen | take_seen(), expected)
    assert_same_run("stopped", "whole")


def test_a_second_ctrl_c_ends_both_processes_at_once(commands):
    """Nothing lets them continue: they wait in the middle of a step."""
    process = commands.start(*fit(*with_callbacks("pauses", Pause={"at": [[0, 2]]}), "--resume", "run"))
    for rank in 0, 1:
        wait_for(reached(0, 2, rank).exists, process)
    os.killpg(process.pid, signal.SIGINT)
    wait_for(lambda: "Ctrl-C again ends it now" in Path("stderr").read_text(), process)
    os.killpg(process.pid, signal.SIGINT)
    code, printed, errors = commands.end_of(process)
    assert code not in (0, 143)
    assert "Traceback" not in errors
    assert "test accuracy" not in printed
    assert not list(Path().rglob("*.ckpt"))


def test_a_signal_to_the_second_process_alone_while_it_tests_is_what_ends_both(commands):
    """Outside of the training there is no step after which both would end; the first loses the connection."""
    command = fit(*with_callbacks("more", Pause={"at": [[-1, -1]]}), "--resume", "stopped")
    process = commands.start(*command)
    for rank in 0, 1:
        wait_for(reached(-1, -1, rank).exists, process)
    os.kill(second_of(process), signal.SIGUSR1)
    may_go(-1, -1).touch()
    code, _, errors = commands.end_of(process)
    assert code == 143, errors
    assert read_run("stopped").state == "stopped"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_second_process_while_it_imports_ends_both(commands, number):
    """The first may wait for the second where it cannot act on a signal; Lightning then kills it."""
    process = commands.start(*fit("--resume", "run"))
    wait_for(lambda: imports_torch(second_of(process)), process)
    os.kill(second_of(process), number)
    code, _, errors = commands.end_of(process)
    assert code in (143, -signal.SIGKILL), errors
    assert "Traceback" not in errors


def second_of(process) -> int:
    """The process that a command has started; 0 if there is none yet. Imports start processes too, for a moment."""
    found = ["pgrep", "-f", "resnet_lightning", "-P", str(process.pid)]
    printed = subprocess.run(found, capture_output=True, text=True, check=False).stdout
    return int([*printed.split(), "0"][0])


def imports_torch(pid: int) -> bool:
    try:
        return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


def test_the_second_process_ends_when_the_first_dies_before_they_meet(commands):
    """It would wait for half an hour."""
    process = commands.start(*fit("--resume", "run"))
    wait_for(lambda: second_of(process), process)
    process.kill()
    code, _, _ = commands.end_of(process)
    assert code == -signal.SIGKILL
