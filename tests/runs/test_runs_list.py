"""The folders of runs: read whatever their condition, found at any depth, and listed."""

import csv
import datetime
import io
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from resnet_lightning.cli.runs import command as runs_command
from resnet_lightning.errors import InputError
from resnet_lightning.runs.lock import Lock
from resnet_lightning.runs.reader import find_runs, read_run
from resnet_lightning.runs.short_names import short_names, short_values


@pytest.fixture
def folder(digits_run, tmp_path, monkeypatch) -> Path:
    """A copy of a run of two short epochs, at ``runs/digits/<time>``."""
    monkeypatch.chdir(tmp_path)
    leave_out = shutil.ignore_patterns("*.ckpt")
    return shutil.copytree(digits_run, Path("runs/digits") / digits_run.name, ignore=leave_out)


@pytest.fixture
def writer(folder):
    """Another process that holds the lock of the run."""
    code = "import sys, pathlib; from resnet_lightning.runs.lock import Lock; "
    code += "lock = Lock(pathlib.Path(sys.argv[1])); "
    command = [sys.executable, "-c", code + "print('held', flush=True); sys.stdin.read()", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def edit_record(folder: Path, **facts) -> None:
    file = folder / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))


# Reading.


def test_a_run_is_read_from_what_the_training_wrote(folder):
    run = read_run(folder)
    assert (run.name, run.state, run.notes, run.is_complete) == ("digits", "finished", (), True)
    assert (run.epochs, run.max_epochs) == (2, 2)
    assert run.config == yaml.safe_load((folder / "config.yaml").read_text())
    assert run.record["net"] == "resnet20"
    assert run.record["parameters"] == 269434
    assert [epoch for epoch, _ in run.curves["val/acc"]] == [0, 1]
    lines = (folder / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("val/acc")
    written = [float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]]
    assert [value for _, value in run.curves["val/acc"]] == written
    assert run.best_accuracy() == max(written)
    assert sum(map(sum, run.evaluation.confusion)) == 355
    hits = sum(row[n] for n, row in enumerate(run.evaluation.confusion))
    assert run.last("test/acc") == pytest.approx(hits / 355)


def test_errors_for_a_missing_folder_and_for_one_without_a_run(folder):
    with pytest.raises(InputError, match=r"no folder 'runs/none'; `lightning runs` lists"):
        read_run("runs/none")
    with pytest.raises(
        InputError, match=r"no run in 'runs/digits': it has no config.yaml; give a folder that `lightning fit` made"
    ):
        read_run("runs/digits")


def test_missing_metrics_are_noted(folder):
    (folder / "metrics.csv").unlink()
    run = read_run(folder)
    assert run.notes == ("there is no metrics.csv",)
    assert (run.epochs, run.best_accuracy()) == (0, None)
    assert run.last("test/acc") == run.evaluation.metrics["test/acc"]
    (folder / "metrics.csv").write_text("epoch,step,val/acc\n")
    assert read_run(folder).notes == ("no metrics were logged",)


DAMAGED = {
    "config.yaml": [b"", b"[]", b"\xff\xfe\x00", b"a: b: c", b"data: 3\ntrainer: []\nmodel: {lr: [1, {a: b}]}"],
    "run.json": [
        *(b"", b"{", b"[]", b"null", b'{"git": 5, "state": []}'),
        b'{"git": {"commit": 3}, "versions": null, "started": "yesterday", "parameters": "many"}',
    ],
    "metrics.csv": [b"", b"\xff\xfe\x00", b"epoch,val/acc\nx,y\n1\n2,0.5,9,9\n", b"epoch,train/loss\n0,nan\n1,inf\n"],
    "evaluation.json": [
        *(b"{", b"7", b'{"confusion": 3}', b'{"confusion": [[1], [2]], "classes": ["a", "b"]}'),
        *(b'{"confusion": [[Infinity]], "classes": ["a"]}', b'{"confusion": [], "classes": []}'),
        b'{"confusion": [[1]], "classes": ["a"], "mistakes": [{}]}',
        b'{"confusion": [[1]], "classes": [], "mistakes": [{"confidence": 1, "png": "no picture"}]}',
    ],
}


@pytest.mark.parametrize(("name", "junk"), [(name, junk) for name, some in DAMAGED.items() for junk in some])
def test_a_run_with_a_damaged_file_is_read_and_shown(folder, name, junk, capsys):
    from resnet_lightning.runs.report.page import render  # imports matplotlib

    if name != "metrics.csv":
        (folder / "metrics.csv").unlink()  # drawing curves takes time
    (folder / name).write_bytes(junk)
    run = read_run(folder)
    assert {note.split()[0] for note in run.notes} <= {name, "no", "there"}
    runs_command([])
    assert folder.name[:10] in capsys.readouterr().out
    assert render([run]).endswith("</html>\n")


def test_a_damaged_record_is_noted_and_the_time_is_that_of_the_folder(folder):
    (folder / "run.json").write_text('{"state": "fini')
    run = read_run(folder)
    assert run.notes == ("run.json is damaged",)
    assert (run.state, run.name) == ("unknown", "digits")
    assert run.started.replace(tzinfo=None) == datetime.datetime.strptime(folder.name[:19], "%Y-%m-%d_%H-%M-%S")


def test_a_run_without_a_record_is_complete_if_it_was_tested(folder):
    (folder / "run.json").unlink()
    run = read_run(folder)
    assert (run.state, run.is_complete, run.notes) == ("unknown", True, ())
    (folder / "evaluation.json").unlink()
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join(lines[:-1]))
    assert not read_run(folder).is_complete


@pytest.mark.parametrize("column", ["val/acc", "val/loss"])
def test_values_that_are_not_finite_are_never_the_best(folder, column):
    (folder / "metrics.csv").write_text(f"epoch,step,{column}\n0,1,nan\n1,2,inf\n2,3,0.25\n3,4,0.125\n4,5,0.")
    run = read_run(folder)
    assert run.epochs == 5
    assert run.best_accuracy() == (0.25 if column == "val/acc" else None)


# States.


@pytest.mark.parametrize("state", ["finished", "stopped", "failed"])
def test_the_state_is_that_of_the_record(folder, state):
    edit_record(folder, state=state)
    assert read_run(folder).state == state


def test_a_locked_run_is_running_and_killed_when_its_process_is_gone(folder, writer):
    edit_record(folder, state="running")
    assert (folder / ".lock").exists()
    before = (folder / ".lock").stat()
    assert read_run(folder).state == "running"
    assert (folder / ".lock").stat() == before  # reading leaves the lock alone
    with pytest.raises(InputError, match="another process is writing"):
        Lock(folder)
    record = (folder / "run.json").rename("record")  # as in its first moments
    assert read_run(folder).state == "running"
    record.rename(folder / "run.json")
    writer.send_signal(signal.SIGKILL)
    writer.wait(30)
    assert read_run(folder).state == "killed"
    assert (folder / ".lock").exists()
    (folder / ".lock").unlink()
    assert read_run(folder).state == "killed"


# Finding and listing.


def test_runs_are_found_at_any_depth_the_newest_first(folder):
    deep = shutil.copytree(folder, Path("runs/cross/fold_0/digits/a"))
    edit_record(deep, started="2031-01-02T03:04:05+00:00")
    old = shutil.copytree(folder, Path("runs/digits/b"))
    edit_record(old, started="2001-01-02T03:04:05+00:00")
    of_wandb = shutil.copytree(old, Path("runs/wandb/1"))  # of a config with the name wandb
    edit_record(of_wandb, started="2000-01-02T03:04:05+00:00")
    shutil.copytree(old, folder / "checkpoints/inner")
    shutil.copytree(folder, Path("runs/digits/wandb/run-1/files"))
    assert [run.folder for run in find_runs("runs")] == [deep, folder, old, of_wandb]
    assert [run.folder for run in find_runs(folder)] == [folder]


def test_the_list_has_epochs_accuracies_and_state(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    edit_record(folder, state="running", started="2020-05-06T12:00:00+00:00")
    runs_command([])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if folder.name in line]
    run = read_run(folder)
    accuracies = f"{run.best_accuracy():.2%}", f"{run.last('test/acc'):.2%}"
    score = json.loads((folder / "evaluation.json").read_text())["scores"]["accuracy"]
    interval = f"[{100 * score['low']:.1f},", f"{100 * score['high']:.1f}]", "355"
    assert line.split() == [str(folder), "digits", "2/2", *accuracies, *interval, "2020-05-06", "killed"]


def test_brackets_in_names_are_no_markup(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    shutil.copytree(folder, "runs/[bold]/x")
    runs_command(["runs/[bold]"])
    assert "runs/[bold]/x" in capsys.readouterr().out


def test_without_runs_the_list_prints_how_to_make_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runs_command([])
    assert capsys.readouterr().out == "there are no runs in 'runs'; `lightning fit --config CONFIG` starts one\n"
    with pytest.raises(InputError, match="no folder 'nowhere'"):
        runs_command(["nowhere"])


# Settings that differ, sorting, and output for programs.


@pytest.fixture
def grid(folder) -> dict[str, Path]:
    """Three runs, by name, with the learning rates 0.1, 0.05 and 0.02; the last one has no test."""
    folders = {}
    for number, (name, lr) in enumerate({"first": 0.1, "second": 0.05, "third": 0.02}.items()):
        copy = shutil.copytree(folder, Path("runs/digits") / name)
        config = yaml.safe_load((copy / "config.yaml").read_text())
        config["model"].update(lr=lr)
        config["seed_everything"] = number
        (copy / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        metrics = (
            f"epoch,val/acc,val/loss,test/acc\n0,0.{number + 1},0.{number + 1},\n1,,,0.{9 - 4 * number}1234567891\n"
        )
        (copy / "metrics.csv").write_text(metrics)
        edit_record(copy, started=f"2020-01-0{number + 1}T00:00:00+00:00")
        folders[name] = copy
    (folders["third"] / "metrics.csv").write_text("epoch,val/acc,val/loss\n0,0.3,nan\n")
    (folders["third"] / "evaluation.json").unlink()
    shutil.rmtree(folder)
    return folders


def listed(capsys, *options: str) -> list[str]:
    """The names of the runs in the order of the list."""
    capsys.readouterr()
    runs_command([*options])
    words = [word for line in capsys.readouterr().out.splitlines() for word in line.split()[:1]]
    return [word.rpartition("/")[2] for word in words if word.startswith("runs/")]


@pytest.mark.parametrize(
    ("key", "order"),
    [
        ("started", ["third", "second", "first"]),
        ("test/acc", ["first", "second", "third"]),  # the best first, and the one without a test last
        ("val/acc", ["third", "second", "first"]),
        ("val/loss", ["first", "second", "third"]),  # a value that is no number is none
        ("lr", ["third", "second", "first"]),
        ("model.lr", ["third", "second", "first"]),
        ("folder", ["first", "second", "third"]),
        ("seed", ["first", "second", "third"]),
    ],
)
def test_runs_are_sorted_by_any_value(grid, capsys, key, order):
    assert listed(capsys, "--sort", key) == order


def test_an_unknown_key_to_sort_by_is_an_error_with_the_nearest(grid):
    with pytest.raises(InputError, match=r"--sort is 'test/ac', which no run has; did you mean 'test/acc'"):
        runs_command(["--sort", "test/ac"])


def test_the_list_shows_the_settings_that_differ(grid, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    runs_command(["--sort", "lr"])
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["folder", "config", "lr", "seed"]
    assert [line.split()[2:4] for line in lines] == [["0.02", "2"], ["0.05", "1"], ["0.1", "0"]]


@pytest.mark.parametrize("width", [80, 60, 40])
def test_the_list_fits_the_terminal_however_long_the_names_are(grid, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for number, folder in enumerate(grid.values()):
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["model"]["backbone"] = f"my_own_package.networks.a_function_with_a_long_name_{number}"
        config["model"]["optimizer_args"] = {f"an_option_with_a_long_name_{n}": number for n in range(5)}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        edit_record(folder, name=f"a config with a very long name that goes on and on {number}")
        folder.rename(folder.with_name(f"{folder.name}_{'model.optimizer_args.weight_decay_0.0005_' * 3}"))
    runs_command([])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    assert "finished" in out
    assert "not shown: " in out
    end = re.match("folder +", out).end()
    joined = "".join(line[:end].strip() for line in out.splitlines())
    assert all(folder.name in joined for folder in Path("runs/digits").iterdir())  # the folders are complete


def test_without_a_terminal_the_list_is_narrow_and_its_paths_stay_on_one_line(grid, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    runs_command([])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    longer = grid["first"].rename(grid["first"].with_name("long" * 30))
    runs_command([])
    assert str(longer) in capsys.readouterr().out


def test_csv_has_every_setting_and_metric_in_full_precision(grid, capsys):
    config = yaml.safe_load((grid["second"] / "config.yaml").read_text())
    config["model"]["loss"] = "=HYPERLINK(1)"
    (grid["second"] / "config.yaml").write_text(yaml.safe_dump(config))
    runs_command(["--csv", "--sort", "started"])
    third, second, first = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert [row["folder"] for row in (first, second, third)] == [str(folder) for folder in grid.values()]
    assert (first["model.lr"], second["model.lr"], first["seed_everything"]) == ("0.1", "0.05", "0")
    assert (first["test/acc"], second["test/acc"], third["test/acc"]) == ("0.91234567891", "0.51234567891", "")
    assert (first["val/loss"], third["val/loss"]) == ("0.1", "nan")
    assert second["model.loss"] == "'=HYPERLINK(1)"  # no formula in a spreadsheet
    assert first["data.batch_size"] == "64"


def test_json_has_what_the_table_has(grid, capsys):
    runs_command(["--json", "--sort", "test/acc"])

    def reject(constant):
        raise AssertionError(f"{constant} is not JSON")

    first, second, third = json.loads(capsys.readouterr().out, parse_constant=reject)
    assert {"val/acc": 0.1, "val/loss": 0.1, "test/acc": 0.91234567891}.items() <= first["metrics"].items()
    assert (second["settings"]["model.lr"], second["settings"]["trainer.max_epochs"]) == (0.05, 2)
    assert third["metrics"] == {"val/acc": 0.3, "val/loss": None}
    assert (third["best_val_acc"], third["state"], third["started"][:10]) == (0.3, "finished", "2020-01-03")


def test_scores_and_their_intervals_are_in_json_csv_and_sort(grid, capsys):
    edit = json.loads((grid["second"] / "evaluation.json").read_text())
    edit["scores"]["macro F1"] = {"value": 0.99, "low": 0.98, "high": 1.0}
    (grid["second"] / "evaluation.json").write_text(json.dumps(edit))
    del edit["scores"], edit["by_class"], edit["images"]  # as an older version wrote it
    (grid["first"] / "evaluation.json").write_text(json.dumps(edit))
    assert listed(capsys, "--sort", "test/macro_f1") == ["second", "first", "third"]
    runs_command(["--json", "--sort", "started"])
    third, second, first = json.loads(capsys.readouterr().out)
    assert second["scores"]["macro F1"] == {"value": 0.99, "low": 0.98, "high": 1.0}
    assert (first["test_images"], third["test_images"], third["scores"]) == (355, None, {})
    assert [row["name"] for row in first["by_class"]] == list("0123456789")
    assert first["scores"]["accuracy"] == pytest.approx(second["scores"]["accuracy"])
    runs_command(["--csv", "--sort", "started"])
    third, second, first = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (second["test/macro_f1"], second["test/macro_f1_low"], third["test/macro_f1"]) == ("0.99", "0.98", "")
    assert float(first["test/acc_low"]) == pytest.approx(json.loads(json.dumps(edit))["metrics"]["test/acc"], abs=0.1)


def test_an_accuracy_of_other_images_has_no_interval(grid, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    runs_command([])
    assert "interval" not in capsys.readouterr().out  # test/acc in metrics.csv is not that of the confusion matrix


@pytest.mark.parametrize("damage", [[1], {"accuracy": 3}, {"accuracy": {"value": "x", "low": 0, "high": 1}}])
def test_damaged_scores_are_noted(folder, damage):
    read = json.loads((folder / "evaluation.json").read_text())
    (folder / "evaluation.json").write_text(json.dumps({**read, "scores": damage}))
    assert read_run(folder).notes == ("evaluation.json is damaged",)


def test_without_runs_json_is_an_empty_list(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runs_command(["--json"])
    assert json.loads(capsys.readouterr().out) == []


def test_short_names_are_as_long_as_needed():
    names = short_names(["seed_everything", "model.lr", "model.a.decay", "model.b.decay", "data", "data.fold"])
    assert list(names.values()) == ["seed", "lr", "a.decay", "b.decay", "data", "fold"]


def test_short_values_stay_different():
    assert short_values(["torch.optim.SGD", "torch.optim.AdamW", "0.5"]) == ["SGD", "AdamW", "0.5"]
    assert short_values(["a" * 30, "b" * 30]) == [f"{'a' * 15}…", f"{'b' * 15}…"]
    assert short_values(["a" * 30 + "1", "a" * 30 + "2"]) == [f"…{'a' * 14}1", f"…{'a' * 14}2"]
    assert short_values(["a.A", "b.A"])[0] != short_values(["a.A", "b.A"])[1]
