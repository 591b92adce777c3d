"""Weights & Biases: a run that goes on is one run there, with each row once, in order. It runs offline, unmocked."""

import json
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import wandb
import yaml
from lightning import Callback
from wandb.proto.wandb_internal_pb2 import Record

from resnet_lightning.cli.main import main
from resnet_lightning.runs.wandb_logger import RECORD, ResumableWandbLogger, make_resumable
from runs_alike import WarmCommands, reached, wait_for, with_callbacks

EPOCHS = 3
STEPS = 4  # batches an epoch
PANELS = (
    *("train/first_batch", "test/confusion_matrix", "test/scores", "test/per_class_accuracy", "test/reliability_bins"),
    "test/worst_mistakes",
)
OF_THE_MOMENT = {"_runtime", "_timestamp", "train/images_per_second"}


@pytest.fixture(autouse=True)
def offline_in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    yield
    end()


@pytest.fixture(scope="module")
def commands():
    started = WarmCommands()
    yield started
    started.close()


class LogsToo(Callback):
    """Logs by itself, past Lightning's logger."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        wandb.log({"own": trainer.global_step})


def command() -> list[str]:
    """A run of a tiny net with a row for each step, and more for each epoch."""
    config = {
        "data": {"class_path": "DigitsDataModule", "init_args": {"batch_size": 16}},
        "model": {
            "backbone": "resnet_lightning.models.cifar.cifar_resnet",
            "backbone_args": {"depth": 8},
            "lr": 0.05,
            "scheduler": "OneCycleLR",
        },
        "trainer": {
            "max_epochs": EPOCHS,
            "limit_train_batches": STEPS,
            "limit_val_batches": 2,
            "limit_test_batches": 2,
            "log_every_n_steps": 1,
            "logger": {"class_path": "WandbLogger", "init_args": {"project": "tests"}},
            "callbacks": [{"class_path": "LearningRateMonitor", "init_args": {"logging_interval": "step"}}],
        },
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))
    return ["fit", "--config", "config.yaml"]


def run(*arguments: str) -> int:
    """The exit code of a command, after which W&B has ended as it does with a process."""
    try:
        return main(list(arguments))
    finally:
        end()


def end() -> None:
    wandb.finish()
    wandb.teardown()  # its own process, which stays in the folder that it was started in


# What W&B has.


def files(folder: str) -> list[Path]:
    return sorted(Path(folder, "wandb").glob("offline-run-*/*.wandb"))


def records(file: Path) -> list[Record]:
    """What is in a file of W&B's: pieces of records in blocks of 32 KiB."""
    content, found, record = file.read_bytes(), [], b""
    place = 7
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4) and place <= len(content):
            found.append(Record.FromString(record))
            record = b""
    return found


def rows(folder: str) -> list[dict]:
    """All rows of a run, in the order of the files, after making sure that they are of one run, with growing steps.

    Without pictures and tables, which a run that goes on from before them logs again where W&B has lost them.
    """
    found, ids = [], set()
    for file in files(folder):
        for record in records(file):
            if record.HasField("history"):
                items = record.history.item
                found.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items})
            if record.HasField("run"):
                ids.add(record.run.run_id)
    assert len(ids) <= 1
    steps = [row.pop("_step") for row in found]
    assert steps == sorted(set(steps))
    numbers = [row for row in found if not any(key.startswith(PANELS) for key in row)]
    return [left for row in numbers if (left := {key: v for key, v in row.items() if key not in OF_THE_MOMENT})]


def set_aside(folder: str) -> list[Path]:
    """W&B's files of processes that were killed."""
    return sorted(Path(folder, "wandb").glob("killed-offline-run-*/*.wandb"))


def recorded_id(folder: str) -> str:
    return json.loads(Path(folder, RECORD).read_text().splitlines()[0])["id"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The rows of a run that was never stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("whole"))
        patch.setenv("WANDB_MODE", "offline")
        assert run(*command(), "--resume", "whole") == 0
        found = rows("whole")
    kinds = {key for row in found for key in row}
    assert kinds > {"lr-SGD/pg1", "train/loss", "val/acc", "test/acc", "trainer/global_step", "epoch"}
    assert len(found) == EPOCHS * (STEPS + 2) + 2  # the test, and its scores
    return found


# Runs that go on.


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param([1, 2], id="inside-an-epoch"),
        pytest.param([0, -1], id="end-of-epoch"),
        pytest.param([EPOCHS - 1, -1], id="end-of-training"),
    ],
)
@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_where_it_was(uninterrupted, moment):
    stop = with_callbacks("stop", Seen={"folder": "seen", "stop_at": moment})
    assert run(*command(), *stop, "--resume", "run") == 143
    before = rows("run")
    assert 0 < len(before) < len(uninterrupted)
    assert run(*command(), "--resume", "run") == 0
    assert rows("run") == uninterrupted
    assert len(files("run")) == 2
    assert rows("run")[: len(before)] == before
    assert files("run")[0].stem == f"run-{recorded_id('run')}"
    # Nothing is left to do, and nothing is logged again.
    assert run(*command(), "--resume", "run") == 0
    assert rows("run") == uninterrupted


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["all", "nothing"])
def test_a_run_that_was_killed_goes_on_where_it_was(uninterrupted, kept, commands):
    # W&B writes its file every so many seconds, by default 15.
    seconds = "15" if kept == "nothing" else "0.05"
    for epoch, batch in [(0, 2), (1, 2)]:  # before there is a checkpoint, and between two
        pause = with_callbacks("pause", Pause={"at": [[epoch, batch]]})
        process = commands.start(
            *command(), *pause, "--resume", "run", WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL=seconds, WANDB_MODE="offline"
        )
        wait_for(reached(epoch, batch).exists, process)
        if kept != "nothing":
            logged = sum(PANELS[0] not in line for line in Path("run", RECORD).read_text().splitlines()) - 1
            wait_for(lambda logged=logged: len(rows("run")) >= logged)
        process.kill()
        process.join()
        if kept == "nothing":
            assert not rows("run")
    assert run(*command(), "--resume", "run") == 0
    assert rows("run") == uninterrupted
    assert (len(files("run")), len(set_aside("run"))) == (1, 2)


@pytest.mark.slow
def test_what_others_log_is_in_between(uninterrupted):
    also = ["--trainer.callbacks+", "test_tracking.LogsToo"]
    stop = with_callbacks("stop", Seen={"folder": "seen", "stop_at": [1, 2]})
    assert run(*command(), *also, *stop, "--resume", "run") == 143
    assert run(*command(), *also, "--resume", "run") == 0
    found = rows("run")
    assert [row for row in found if "own" not in row] == uninterrupted
    assert [row["own"] for row in found if "own" in row] == list(range(1, EPOCHS * STEPS + 1))


@pytest.mark.slow
def test_a_longer_run_goes_on_after_the_test():
    plain = [*command(), "--model.scheduler", "null", "--resume", "run", "--trainer.max_epochs"]
    assert run(*plain, "1") == 0
    assert run(*plain, "2") == 0
    found = rows("run")
    # An epoch has a row per step and two for its means; the test has two: what it logged, and its scores.
    assert [n for n, row in enumerate(found) if "test/acc" in row] == [STEPS + 2, 2 * (STEPS + 2) + 2]
    assert [n for n, row in enumerate(found) if "test/macro_f1" in row] == [STEPS + 3, 2 * (STEPS + 2) + 3]
    assert [row["epoch"] for row in found if "train/acc" in row] == [0, 1]
    assert len(found) == 2 * (STEPS + 4)


@pytest.mark.slow
def test_a_run_from_a_checkpoint_is_another_one():
    assert run(*command(), "--trainer.max_epochs", "1", "--resume", "run") == 0
    before = rows("run")
    last = "run/checkpoints/last.ckpt"
    assert run("fit", "--ckpt_path", last, "--trainer.default_root_dir", "other") == 0
    (folder,) = Path("other").glob("*/*")
    assert recorded_id(folder) != recorded_id("run")
    assert all("test/acc" in row or "test/macro_f1" in row for row in rows(folder))  # nothing was left to train
    assert len(rows(folder)) == 2
    assert rows("run") == before


@pytest.mark.slow
def test_a_damaged_record_means_a_new_run(capsys):
    stop = with_callbacks("stop", Seen={"folder": "seen", "stop_at": [1, 2]})
    assert run(*command(), *stop, "--resume", "run") == 143
    first = recorded_id("run")
    Path("run", RECORD).write_text(Path("run", RECORD).read_text().replace(":", ";"))
    assert run(*command(), "--resume", "run") == 0
    assert "is damaged" in capsys.readouterr().out
    assert recorded_id("run") != first
    assert first in Path("run", f"{RECORD}.damaged").read_text()
    assert len({file.stem for file in files("run")}) == 2


@pytest.mark.parametrize("damage", ["", "{", '{"id": 1}\n', "\0" * 100, "[]\n[]\n", "\n"], ids=range(6))
def test_a_damaged_record_is_put_aside(damage):
    Path(RECORD).write_text(damage)
    entry = _Entry()
    make_resumable(entry, Path("."))
    assert "id" not in entry.init_args
    assert Path(f"{RECORD}.damaged").read_text() == damage
    assert not Path(RECORD).exists()


@pytest.mark.slow
def test_the_config_names_lightnings_logger():
    assert run(*command(), "--trainer.max_epochs", "1", "--resume", "run") == 0
    logger = yaml.safe_load(Path("run/config.yaml").read_text())["trainer"]["logger"]
    assert logger["class_path"] == "lightning.pytorch.loggers.WandbLogger"
    assert logger["init_args"]["id"] is None


@pytest.mark.slow
def test_an_id_in_the_config_wins():
    assert run(*command(), "--trainer.max_epochs", "1", "--resume", "run") == 0
    own = ["--trainer.logger.id", "mine"]
    assert run(*command(), *own, "--trainer.max_epochs", "2", "--resume", "run") == 0
    assert recorded_id("run") == "mine"
    assert files("run")[-1].stem == "run-mine"


@pytest.mark.slow
def test_where_wandb_is_disabled_nothing_is_recorded(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert run(*command(), "--trainer.max_epochs", "1", "--resume", "run") == 0
    assert len(Path("run", RECORD).read_text().splitlines()) == 1  # for an id, should it be enabled


# The logger.


def logger(rows_before: int | None = None) -> ResumableWandbLogger:
    """The logger of the next process."""
    end()
    entry = _Entry()
    time.sleep(1 if files(".") else 0)  # W&B names its folders by the second
    make_resumable(entry, Path("."))
    made = ResumableWandbLogger(save_dir=".", **entry.init_args)
    if rows_before is not None:
        made.resume_after(rows_before)
    return made


class _Entry:
    def __init__(self) -> None:
        self.class_path = "lightning.pytorch.loggers.WandbLogger"
        self.init_args = _Options()


class _Options(dict):
    __setattr__ = dict.__setitem__


def log(logger: ResumableWandbLogger, steps: range) -> None:
    """Logs two rows a step."""
    for step in steps:
        logger.log_metrics({"a": step / 3, "nan": float("nan")}, step)
        logger.log_metrics({"b": step})


def assert_each_row_once(steps: int) -> None:
    found = rows(".")
    assert [row["a"] for row in found if "a" in row] == [step / 3 for step in range(steps)]
    assert [row["b"] for row in found if "b" in row] == list(range(steps))
    assert [key for row in found for key in row if key in "ab"] == ["a", "b"] * steps


@pytest.mark.parametrize("how", ["ended", "killed"])
@pytest.mark.slow
def test_every_row_is_there_once(how):
    first = logger()
    log(first, range(40))
    if how == "ended":
        first.end(0)
    second = logger(rows_before=60)
    log(second, range(30, 50))
    end()
    assert_each_row_once(50)
    assert len(set_aside(".")) == (how == "killed")


@pytest.mark.slow
def test_rows_of_processes_that_ended_stay_in_their_files():
    first = logger()
    log(first, range(10))
    first.end(1)
    before = files(".")
    log(logger(rows_before=20), range(10, 20))  # is killed
    log(logger(rows_before=30), range(15, 25))
    end()
    assert_each_row_once(25)
    assert files(".")[:1] == before
    assert (len(files(".")), len(set_aside("."))) == (2, 1)


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_sets_files_aside_does_no_harm():
    log(logger(), range(4))
    (file,) = files(".")
    end()
    file.parent.rename(file.parent.with_name(f"killed-{file.parent.name}"))
    log(logger(rows_before=6), range(3, 5))
    end()
    assert_each_row_once(5)


def test_images_are_logged_and_only_numbers_are_logged_again():
    first = logger()
    first.log_image("image", [np.zeros((4, 4, 3), np.uint8)], step=0)
    first.log_metrics({"a": np.float32(0.5)}, step=0)
    logger(rows_before=2)
    end()
    assert rows(".") == [{"a": 0.5, "trainer/global_step": 0}]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["deleted", "uploaded"])
def test_where_wandbs_file_is_not_there_to_be_uploaded_the_journal_is_believed(what, caplog):
    first = logger()
    for step in range(3):
        first.log_metrics({"a": step}, step)
    end()
    (file,) = files(".")
    if what == "deleted":
        file.unlink()
    else:
        Path(f"{file}.synced").touch()
    second = logger(rows_before=1)
    for step in range(1, 5):
        second.log_metrics({"a": step}, step)
    end()
    assert [row["a"] for row in rows(".")] == ([3, 4] if what == "deleted" else [0, 1, 2, 3, 4])
    assert "W&B may lack the last rows of the process that was killed" in caplog.text
    assert not set_aside(".")


def test_a_run_that_waits_for_its_upload_stays_offline(monkeypatch):
    logger().log_metrics({"a": 1}, 0)
    end()
    monkeypatch.delenv("WANDB_MODE")
    entry = _Entry()
    make_resumable(entry, Path("."))
    assert entry.init_args == {"resume": "allow", "id": recorded_id("."), "mode": "offline"}
    (uploaded,) = files(".")
    Path(f"{uploaded}.synced").touch()
    entry = _Entry()
    make_resumable(entry, Path("."))
    assert entry.init_args == {"resume": "allow", "id": recorded_id(".")}


def test_somebodys_own_logger_is_left_alone():
    entry = _Entry()
    entry.class_path = "mine.WandbLogger"
    make_resumable(entry, Path("."))
    assert entry.class_path == "mine.WandbLogger"


A_DEATH = """
import logging, os, psutil
from resnet_lightning.runs.wandb_logger import ResumableWandbLogger

logging.basicConfig(format="%(message)s")
logger = ResumableWandbLogger(project="tests", save_dir="run", offline=True)
logger.log_metrics({"a": 1.0}, 0)
(core,) = (p for p in psutil.Process().children(recursive=True) if "wandb-core" in " ".join(p.cmdline()))
core.kill()
core.wait()
for step in range(1, 4):
    logger.log_metrics({"a": float(step)}, step)
logger.end(0)
print("rows:", logger.rows, flush=True)
os._exit(0)
"""


@pytest.mark.slow
def test_a_process_of_wandbs_that_dies_ends_no_run():
    done = subprocess.run([sys.executable, "-c", A_DEATH], capture_output=True, text=True, check=True)
    assert "W&B could not log a; the run continues" in done.stderr
    assert "rows: 4" in done.stdout
    assert len(Path("run", RECORD).read_text().splitlines()) == 1 + 4
