"""What later commands must not take from a run: its results, its command, and its place among the others."""

import json
import os
import shutil
from pathlib import Path

import pytest
from lightning import Callback

from commands import error_line
from resnet_lightning.cli.main import main
from resnet_lightning.runs.folder import find_runs_alike
from resnet_lightning.runs.reader import find_runs, read_run
from runs_alike import DIGITS, SMALL, working_in

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

FIT = ["fit", "--config", DIGITS, *SMALL, "--trainer.limit_train_batches", "2", "--trainer.accelerator", "cpu"]
TWO = [*FIT, "--trainer.max_epochs", "2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder ``runs`` with one finished run."""
    with working_in(tmp_path_factory.mktemp("finished")):
        assert main(TWO) == 0
        return Path("runs").resolve()


@pytest.fixture
def run(finished):
    """A copy of the finished run."""
    shutil.copytree(finished, "runs")
    (folder,) = Path("runs/digits").iterdir()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "hparams.yaml")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("more", [[], ["--data.batch_size", "16"], ["--trainer.max_epochs", "2"]])
def test_a_finished_run_is_left_alone(run, more, capsys):
    before = contents(run)
    assert main([*TWO, *more, "--resume", str(run)]) == 0
    assert "is finished and left alone" in capsys.readouterr().out
    assert contents(run) == before


def test_the_newest_run_is_left_alone_if_it_is_finished(run, capsys):
    before = contents(Path("runs"))
    assert main([*TWO, "--resume", "auto"]) == 0
    assert "is finished and left alone" in capsys.readouterr().out
    assert contents(Path("runs")) == before


def test_a_longer_run_starts_anew_beside_a_finished_one(run, capsys):
    before = contents(run)
    assert main([*FIT, "--trainer.max_epochs", "3", "--resume", "auto"]) == 0
    assert "is finished and left alone" in capsys.readouterr().out
    assert contents(run) == before
    assert len(list(Path("runs/digits").iterdir())) == 2


def test_a_mistake_takes_no_results(run):
    before = contents(run)
    longer = [*FIT, "--trainer.max_epochs", "3", "--resume", str(run)]
    for mistake in ["--trainer.callbacks+=Missing"], ["--overlay", "debug"], ["--model.lr", "1e30"]:
        assert main([*longer, *mistake]) == 2, mistake
        after = contents(run)
        if mistake[0] != "--model.lr":
            assert after == before, mistake
        assert after["evaluation.json"] == before["evaluation.json"], mistake


def test_a_callback_that_fails_in_the_set_up_takes_no_results(run):
    before = contents(run)
    longer = [*FIT, "--trainer.max_epochs", "3", "--resume", str(run)]
    with pytest.raises(RuntimeError, match="set-up"):
        main([*longer, f"--trainer.callbacks+={__name__}.Failing"])
    assert contents(run) == before


def test_a_run_that_goes_on_keeps_its_first_command_and_its_time(run):
    before = json.loads((run / "run.json").read_text())
    assert main([*FIT, "--trainer.max_epochs", "3", "--resume", str(run)]) == 0
    after = json.loads((run / "run.json").read_text())
    assert after["state"] == "finished"
    assert after["first_command"] == before["command"]
    assert "--resume" in after["command"]
    assert after["training_seconds"] > before["training_seconds"] * 0.9
    assert read_run(run).epochs == 3


def test_a_checkpoint_beyond_the_end_is_named_in_a_line(run, capsys):
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"state": "stopped"}))
    line = error_line(capsys, *FIT, "--trainer.max_epochs", "1", "--resume", "auto")
    assert line.endswith("is at epoch 2, but this run ends at epoch 1; raise --trainer.max_epochs")


@pytest.mark.parametrize("option", ["--resume", "--trainer.default_root_dir"])
def test_a_url_is_no_folder(option, capsys):
    line = error_line(capsys, *TWO, option, "s3://bucket/run")
    assert f"{option.lstrip('-')} is 's3://bucket/run'; give a folder of this machine" in line


def test_the_home_folder_is_that_of_the_whole_run(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert main([*TWO, "--resume", "~/run"]) == 0
    assert main([*TWO, "--trainer.default_root_dir", "~/runs"]) == 0
    assert (tmp_path / "home/run/run.json").is_file()
    assert len(list((tmp_path / "home/runs/digits").iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


DEEP = 100_000
DAMAGES = {
    "garbage": b"\x80\x00\xff{[",
    "a list": b"[1, 2]",
    "a number": b"7",
    "deep flow": b"[" * DEEP,
    "deep flow, closed": b"[" * DEEP + b"]" * DEEP,
    "deep mapping": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep block": b"- " * DEEP + b"1",
    "cycle": b"a: &a {b: *a}",
    "bomb": b"a0: &a0 {x: 1}\n"
    + b"".join(b"a%d: &a%d {x: *a%d, y: *a%d}\n" % (n, n, n - 1, n - 1) for n in range(1, 60)),
}


@pytest.mark.parametrize("damage", [*DAMAGES, "pipe", "folder"])
@pytest.mark.parametrize("name", ["config.yaml", "run.json", "evaluation.json", "metrics.csv"])
def test_one_bad_file_hides_no_run(run, name, damage, capsys):
    newer = run.with_name("2999-01-01_00-00-00")
    shutil.copytree(run, newer)
    (newer / name).unlink()
    if damage == "pipe":
        os.mkfifo(newer / name)
    elif damage == "folder":
        (newer / name).mkdir()
    else:
        (newer / name).write_bytes(DAMAGES[damage])
    config = (run / "config.yaml").read_text()
    assert run in find_runs_alike(Path("runs"), "digits", config)
    assert run in [found.folder for found in find_runs("runs")]
    assert main(["runs"]) == 0
    assert "Traceback" not in capsys.readouterr().err


class Failing(Callback):
    def on_fit_start(self, trainer, pl_module) -> None:
        raise RuntimeError("a mistake in the set-up")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_a_rank_without_other_processes_is_a_run_of_its_own(warm, name):
    code, printed = warm.run(*TWO, **{name: "1"})
    assert code == 0, printed
    assert "test accuracy" in printed
    (folder,) = Path("runs/digits").iterdir()
    code, printed = warm.run("test", "--ckpt_path", str(folder / "checkpoints/best.ckpt"), **{name: "1"})
    assert code == 0, printed
    assert "test/acc" in printed
