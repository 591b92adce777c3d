"""`lightning sweep`: mistakes that end it before anything is started, what it runs, and what it prints."""

import os
import shlex
import signal
from pathlib import Path

import pytest

from commands import error_line
from repository import CONFIGS
from resnet_lightning.cli.main import main
from resnet_lightning.runs.reader import find_runs
from runs_alike import DIGITS, SMALL, assert_same_run, wait_for

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")

CONFIG = ["sweep", "--config", DIGITS]
SHORT = [*CONFIG, *SMALL, "--trainer.max_epochs=2", "--trainer.limit_train_batches=8", "--trainer.accelerator=cpu"]


# Mistakes.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "there is nothing to vary; give an option several values"),
        (["--model.lrr", "1,2"], "unknown option '--model.lrr'; did you mean --model.lr?"),
        (["--model.lr", "0.1,abc"], "model.lr"),
        (["--model.lr", ","], "--model.lr is ',', a list with an empty value"),
        (["--model.lr", "0.1..0.2"], "--model.lr is a range; say how many values to draw, such as --sample 20"),
        (["--model.lr", "0.1,0.2", "--overlay", "debug"], "trainer.fast_dev_run (--overlay debug) saves nothing"),
        (["--model.lr", "0.1,0.2", "--jobs", "0"], "--jobs is 0; give a whole number of at least 1"),
        (["--model.lr", "0.1,0.2", "--jobs", "9999"], "--jobs is 9999: so many runs side by side do not fit on"),
        (["--model.lr", "0.1,0.2", "--jobs", "many"], "argument --jobs: invalid int value: 'many'"),
        (["--model.lr", "0.1,0.2", "--sample", "-1"], "--sample is -1"),
        (["--model.lr", "0.1,0.2", "--print_config"], "--print_config does not belong to a sweep"),
        (["--sweep", "nowhere.yaml"], "there is no sweep 'nowhere.yaml'"),
        (["--model.lr", "0.1,0.2", "0.3"], "'0.3' belongs to no option"),
        (["--seed_everything", "0,-1"], "seed_everything is -1"),
        (["--model.lr", "0.1,0.2", "--sampler", "tpe"], "--sampler is tpe; say how many settings to draw"),
        (["--model.lr", "0.1,0.2", "--halving", "1"], "--halving is 1; give a whole number of at least 2"),
        (["--model.lr", "0.1,0.2", "--halving", "--trainer.max_epochs", "1"], "--halving needs trainer.max_epochs"),
        (["--halving", "--trainer.max_epochs", "2,4"], "--halving compares runs of one length"),
        (["--model.lr", "0.1,0.2", "--launcher", "slurm"], "slurm"),
        (["--model.lr", "0.1,0.2", "--launcher_args", "fast"], "--launcher_args is 'fast'; give a mapping"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_before_anything_is_started(capsys, options, message):
    assert message in error_line(capsys, *CONFIG, *options)


def test_very_many_runs_need_a_confirmation_which_nobody_can_give_without_a_terminal(capsys):
    lists = ["--seed_everything", ",".join(map(str, range(100))), "--model.lr", ",".join(f"0.{n}1" for n in range(100))]
    line = error_line(capsys, *CONFIG, *lists)
    assert "these are 10,000 runs; give fewer values, --sample N to draw some of them, or --yes" in line


# Command lines.


def dry_run(capsys, *options: str) -> list[list[str]]:
    capsys.readouterr()
    assert main([*CONFIG, *options, "--dry_run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not list(Path.cwd().iterdir())
    return [shlex.split(line) for line in lines]


def test_a_dry_run_prints_the_command_lines(capsys):
    commands = dry_run(capsys, "--model.lr", "0.05,0.1", "--seed_everything", "0,1", "--trainer.max_epochs", "3")
    assert [command[:6] for command in commands] == [
        ["lightning", "fit", "--config", DIGITS, "--trainer.max_epochs", "3"]
    ] * 4
    assert [command[6:8] for command in commands] == [
        [f"--model.lr={lr}", f"--seed_everything={seed}"] for seed in "01" for lr in ("0.05", "0.1")
    ]
    assert all(command[-1] == "--resume=auto" for command in commands)
    assert len({command[-2] for command in commands}) == 4


def folder_of(command: list[str]) -> Path:
    return Path(command[-2].removeprefix("--trainer.default_root_dir=")).parent


def test_more_values_and_seeds_add_to_a_folder_and_other_options_have_another(capsys):
    folders = [
        {folder_of(command) for command in dry_run(capsys, *options.split())}
        for options in (
            "--model.lr 0.05,0.1",
            "--model.lr 0.05,0.1,0.2",
            "--model.lr 0.05,0.1 --seed_everything 0,1,2",
            "--seed_everything 5 --model.lr 0.2,0.3 --trainer.enable_progress_bar false",
            "--model.lr 0.05,0.1 --trainer.max_epochs 3",
            "--model.lr 0.05,0.1 --model.label_smoothing 0.0,0.1",
        )
    ]
    assert all(len(found) == 1 for found in folders)
    assert folders[0] == folders[1] == folders[2] == folders[3]
    assert len({*folders[0], *folders[4], *folders[5]}) == 3


def test_draws_are_the_first_of_a_longer_sequence(capsys):
    options = "--model.lr", "log:0.01..1.0", "--data.augment.rotate", "0,5,10"
    three, two = (dry_run(capsys, *options, "--sample", count) for count in "32")
    assert three[:2] == two
    assert len({tuple(command) for command in three}) == 3
    other = dry_run(capsys, *options, "--sample", "2", "--sampler_seed", "1")
    assert other != two


def test_a_shipped_sweep_of_wandb_draws_settings(capsys):
    capsys.readouterr()
    assert main(["sweep", "--sweep", "digits", "--sample", "2", "--seed_everything", "0,1", "--dry_run"]) == 0
    commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert [command[:6] for command in commands] == [
        ["lightning", "fit", "--config", "digits", "--overlay", "wandb"]
    ] * 4


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONFIGS / "sweeps").glob("*.yaml")))
def test_every_shipped_sweep_is_one_of_ours(capsys, name):
    capsys.readouterr()
    assert main(["sweep", "--sweep", name, "--sample", "2", "--dry_run"]) == 0
    commands = capsys.readouterr().out.splitlines()
    assert len(commands) in (2, 6)  # a setting runs with each seed
    assert all(command.startswith("lightning fit --config ") for command in commands)


# Runs.


def final_table(printed: str) -> list[str]:
    """The lines of the table and after it."""
    lines = printed.splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.startswith("mean ± deviation")) :]


@pytest.mark.slow
def test_all_combinations_are_run_once_and_the_best_is_named(commands):
    options = [*SHORT, "--model.lr", "0.05,0.1,1e9"]
    code, first, errors = commands.run(*options, "--jobs", "2")
    assert code == 0, errors
    (folder,) = Path("runs").iterdir()
    assert {run.setting("model.lr") for run in find_runs(folder)} == {0.05, 0.1, 1e9}
    table = final_table(first)
    assert table[2].split()[:2] in (["model.lr", "0.05"], ["model.lr", "0.1"])
    assert table[4].startswith("best by val/loss: ")
    (failed,) = [line for line in table if line.startswith("failed: ")]
    assert failed.startswith("failed: model.lr 1e+09, seed 0: the loss is nan at step")

    # The same command again starts nothing.
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    code, again, errors = commands.run(*options)
    assert code == 0, errors
    assert final_table(again) == table
    assert before == {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}

    # A second seed is added.
    code, more, errors = commands.run(*options[:-1], "0.05,0.1", "--seed_everything", "0,1")
    assert code == 0, errors
    assert len(find_runs(folder)) == 5
    assert "2 of 4 runs had ended before" in more
    assert " ± " in final_table(more)[2]

    # The folder belongs to this sweep.
    code, _, errors = commands.run(*options, "--folder", str(folder), "--model.label_smoothing", "0.0")
    assert code == 2
    assert errors == (
        f"error: '{folder}' belongs to another sweep: model.label_smoothing is 0.1 there and 0.0 here; choose another "
        "--folder\n"
    )


def train_two_by_two(warm, capsys, *options: str) -> None:
    """Trains the runs of a sweep by the commands that it prints, two at a time."""
    capsys.readouterr()
    assert main([*options, "--dry_run"]) == 0
    lines = [shlex.split(line)[1:] for line in capsys.readouterr().out.splitlines()]
    for pair in (lines[i : i + 2] for i in range(0, len(lines), 2)):
        started = [(warm.start(*line, log=f"log_{number}"), f"log_{number}") for number, line in enumerate(pair)]
        for process, log in started:
            code, printed = warm.end_of(process, log)
            assert code == 0, printed


@pytest.mark.slow
def test_a_sweep_that_is_killed_twice_and_interrupted_ends_as_an_uninterrupted_one(commands, warm, capsys):
    options = [*SHORT, "--trainer.max_epochs=3", "--model.lr", "0.05,0.1", "--seed_everything", "0,1,2"]
    train_two_by_two(warm, capsys, *options, "--folder", "whole")
    code, whole, errors = commands.run(*options, "--folder", "whole", "--jobs", "2")
    assert code == 0, errors

    def wait_for_checkpoint(run: str, process) -> None:
        pattern = f"{run}/*/*/checkpoints/last.ckpt"
        wait_for(lambda: list(Path("parts").glob(pattern)), process)

    process = commands.start(*options, "--folder", "parts", "--jobs", "2")
    wait_for_checkpoint("model.lr_0.05,seed_0", process)
    os.killpg(process.pid, signal.SIGKILL)  # with all of its runs
    process.wait()

    process = commands.start(*options, "--folder", "parts", "--jobs", "2")
    wait_for_checkpoint("model.lr_0.05,seed_1", process)
    process.kill()  # its runs see it, save and end
    process.wait()

    process = commands.start(*options, "--folder", "parts", "--jobs", "2")
    wait_for_checkpoint("model.lr_0.05,seed_2", process)
    process.send_signal(signal.SIGINT)
    code, _, errors = commands.end_of(process)
    assert code == 130
    assert "The runs have saved their checkpoints. To continue: lightning sweep --config" in errors
    assert not [run for run in find_runs("parts") if run.state == "running"]

    code, parts, errors = commands.run(*options, "--folder", "parts", "--jobs", "2")
    assert code == 0, errors
    assert final_table(parts)[:-1] == final_table(whole)[:-1]  # the last line is the folder
    runs = [{run.folder.parts[1]: str(run.folder) for run in find_runs(folder)} for folder in ("whole", "parts")]
    assert len(runs[0]) == 6
    assert runs[0].keys() == runs[1].keys()
    assert len(find_runs("parts")) == 6
    for name, folder in runs[0].items():
        assert_same_run(runs[1][name], folder)


@pytest.mark.slow
def test_halving_stops_bad_settings_and_changes_no_result(commands, warm, capsys):
    options = [*SHORT, "--trainer.max_epochs=4", "--model.lr", "0.001,0.1,1e9", "--jobs", "2"]
    code, printed, errors = commands.run(*options, "--halving", "2", "--folder", "halved")
    assert code == 0, errors
    assert "2 runs train for 2 epochs" in printed or "3 runs train for 2 epochs" in printed
    epochs = {run.setting("model.lr"): run.epochs for run in find_runs("halved")}
    assert epochs == {0.001: 2, 0.1: 4, 1e9: 0}
    assert "1 of 3 runs were stopped early" in printed

    # What went on is what it is without a stop.
    train_two_by_two(warm, capsys, *SHORT, "--trainer.max_epochs=4", "--model.lr", "0.001,0.1", "--folder", "whole")
    runs = [{run.setting("model.lr"): str(run.folder) for run in find_runs(folder)} for folder in ("halved", "whole")]
    assert_same_run(runs[0][0.1], runs[1][0.1])

    # Without halving, the same folder goes on.
    code, printed, errors = commands.run(*options, "--folder", "halved")
    assert code == 0, errors
    assert_same_run(runs[0][0.001], runs[1][0.001])


@pytest.mark.slow
def test_jobs_are_submitted_as_an_array(commands):
    pytest.importorskip("submitit", reason="submits jobs: pip install submitit")
    local = ["--launcher", "slurm", "--launcher_args", "{cluster: local, timeout_min: 10}"]
    options = [*SHORT, "--trainer.max_epochs=1", "--model.lr", "0.05,0.1"]
    code, printed, errors = commands.run(*options, *local)
    assert code == 0, errors
    assert len(find_runs("runs")) == 2
    assert final_table(printed)[4].startswith("best by val/loss: model.lr")


@pytest.mark.slow
def test_tpe_continues_from_the_runs_in_the_folder(commands):
    pytest.importorskip("optuna", reason="draws settings: pip install optuna")
    options = [*SHORT, "--trainer.max_epochs=1", "--model.lr", "log:0.01..1.0", "--data.augment.rotate", "0,10"]
    code, _, errors = commands.run(*options, "--sampler", "tpe", "--sample", "1", "--folder", "parts")
    assert code == 0, errors
    for folder in "parts", "whole":
        code, _, errors = commands.run(*options, "--sampler", "tpe", "--sample", "2", "--folder", folder)
        assert code == 0, errors
    parts, whole = (
        {(run.setting("model.lr"), run.setting("data.init_args.augment.rotate")) for run in find_runs(folder)}
        for folder in ("parts", "whole")
    )
    assert len(whole) == 2
    assert parts == whole


@pytest.mark.slow
def test_the_runs_are_a_group_of_wandb(commands):
    options = [*SHORT, "--overlay", "wandb", "--trainer.max_epochs=1", "--trainer.logger.init_args.mode", "offline"]
    code, _, errors = commands.run(*options, "--seed_everything", "0,1")
    assert code == 0, errors
    (folder,) = Path("runs").iterdir()
    files = list(folder.rglob("run-*.wandb"))
    assert len(files) == 2
    assert all(folder.name.encode() in file.read_bytes() for file in files)
