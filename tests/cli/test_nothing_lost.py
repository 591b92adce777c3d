"""What later commands must not take from a run: its results, its command, and its place among the others."""

import json
import multiprocessing
import os
import shutil
import threading
from pathlib import Path

import pytest
from lightning import Callback

from commands import error_line
from resnet_lightning.cli import finished_runs
from resnet_lightning.cli.main import main
from resnet_lightning.cli.run_session import RunSession
from resnet_lightning.errors import InputError
from resnet_lightning.runs.folder import find_runs_alike, make_folder, remove_empty
from resnet_lightning.runs.lock import InUse, Lock
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


def test_a_resumed_run_waits_for_no_named_pipe(run, capsys):
    names = "hparams.yaml", "metrics.csv", "tensorboard/hparams.yaml", "checkpoints/previous.ckpt"
    (run / "tensorboard").mkdir()
    ends = []
    for name in names:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)
        ends.append(os.open(run / name, os.O_RDWR))  # else a fault would make the test wait
    assert main([*TWO, "--trainer.max_epochs", "3", "--overlay", "tensorboard", "--resume", str(run)]) == 0
    for end in ends:
        os.close(end)
    printed = " ".join("".join(capsys.readouterr()).split())
    for name in names:
        assert f"{run / name} is no file: renamed to {Path(name).name}.damaged" in printed
        assert (run / name).is_file()
        assert (run / f"{name}.damaged").is_fifo()


def test_a_run_leaves_no_variables_to_programs_that_are_started_later():
    """One of them would take this process for the first of its run, and send it its signals."""
    before = {name: value for name, value in os.environ.items() if name.startswith("RESNET_LIGHTNING")}
    assert main(TWO) == 0
    assert {name: value for name, value in os.environ.items() if name.startswith("RESNET_LIGHTNING")} == before


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


# Runs that start at the same time.


def open_ones(path: str, count: int) -> list[Path]:
    """Opens new folders in a process of its own, and returns their paths."""
    sessions = [RunSession() for _ in range(count)]
    for session in sessions:
        session.new_folder(Path(path), "digits", lock=True)
    return [session.folder for session in sessions]


def test_runs_that_start_in_one_second_have_their_own_folders():
    context = multiprocessing.get_context("fork")
    with context.Pool(4) as pool:
        found = [folder for folders in pool.starmap(open_ones, [("runs", 2)] * 4) for folder in folders]
    assert len(set(found)) == 8
    assert all(folder.is_dir() for folder in found)


def test_a_run_that_another_process_takes_meanwhile_is_not_waited_for(run, monkeypatch, capsys):
    """``--resume auto``, started twice at once: both find the unfinished run, and one of them gets it."""
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"state": "stopped"}))
    before = contents(run)
    look = finished_runs.find_runs_alike
    taken = []

    def look_and_lose(base, name, config):
        for folder in look(base, name, config):
            context = multiprocessing.get_context("fork")
            may_end = context.Event()
            holder = context.Process(target=hold, args=(folder, ready := context.Event(), may_end))
            holder.start()
            assert ready.wait(30)
            taken.append((holder, may_end))
            yield folder

    monkeypatch.setattr(finished_runs, "find_runs_alike", look_and_lose)
    try:
        assert main([*TWO, "--resume", "auto"]) == 0
    finally:
        for holder, may_end in taken:
            may_end.set()
            holder.join()
    assert taken
    assert "a new one starts" in capsys.readouterr().out
    assert {name: digest for name, digest in contents(run).items() if name != ".lock"} == before
    assert len(list(Path("runs/digits").iterdir())) == 2


def hold(folder: Path, ready, may_end) -> None:
    lock = Lock(folder)
    ready.set()
    may_end.wait(60)
    lock.release()


def test_a_look_at_a_run_does_not_keep_others_from_it(tmp_path):
    context = multiprocessing.get_context("fork")
    may_end, ready = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(tmp_path, ready, may_end))
    holder.start()
    assert ready.wait(30)
    with pytest.raises(InUse, match="another process is writing"):
        Lock(tmp_path, patience=0)
    threading.Timer(0.1, may_end.set).start()
    Lock(tmp_path, patience=30).release()
    holder.join()


# Folders that are left or removed.


def test_only_folders_that_the_program_made_are_removed(capsys):
    Path("mine").mkdir()
    for folder in "mine", "mine/deep/run", "other/run":
        error_line(capsys, *TWO, "--resume", folder, "--trainer.callbacks+=Missing")
    assert Path("mine").is_dir()
    Path("runs").mkdir()
    error_line(capsys, *TWO, "--trainer.callbacks+=Missing")
    assert [path.name for path in Path().iterdir()] == ["mine", "runs"]


def test_a_folder_that_the_user_makes_meanwhile_stays():
    made = make_folder(Path("a/b"))
    assert made == [Path("a/b"), Path("a")]
    assert make_folder(Path("a/b/c")) == [Path("a/b/c")]
    remove_empty(made)
    assert Path("a/b/c").is_dir()


@pytest.mark.parametrize("path", ["file/run", "link/run"])
def test_a_folder_that_cannot_be_made_leaves_nothing(path):
    Path("file").touch()
    Path("link").symlink_to("link")
    with pytest.raises(InputError, match=f"cannot create the run's folder 'new/../{path}'"):
        make_folder(Path("new/..", path))
    assert sorted(path.name for path in Path().iterdir()) == ["file", "link"]


def test_a_named_pipe_in_place_of_the_lock_is_named(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(InputError, match="cannot write to the run's folder"):
        Lock(tmp_path)
