"""What Weights & Biases gets of a run: config, panels, sweeps; and a server that is not there."""

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import wandb
import yaml
from test_tracking import end, files, records
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from repository import ROOT
from resnet_lightning.cli.main import main
from wandb_server import WandbServer

SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))
DIGITS = ["--config", str(ROOT / "configs" / "digits.yaml"), "--overlay", "wandb"]
SHORT = [*DIGITS, "--trainer.max_epochs", "2", "--trainer.limit_train_batches", "4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The records of an offline run, as W&B's own file has them, and its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        patch.setenv("WANDB_MODE", "offline")
        try:
            logger = {"project": "mine", "group": "of_two", "tags": "[first, baseline]", "name": "a_name"}
            options = [f"--trainer.logger.{key}={value}" for key, value in {**logger, "log_model": "true"}.items()]
            assert main(["fit", *SHORT, *options, "--resume", "run"]) == 0
        finally:
            end()
        (file,) = files("run")
        yield records(file), Path("run").absolute()


def rows(found) -> dict[str, object]:
    """The last value of each key."""
    items = [item for record in found if record.HasField("history") for item in record.history.item]
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_the_whole_config_goes_with_commit_and_versions(run):
    found, folder = run
    updates = [update for record in found if record.HasField("config") for update in record.config.update]
    config = {update.key: json.loads(update.value_json) for update in updates}
    written = yaml.safe_load((folder / "config.yaml").read_text())
    assert {key: config[key] for key in written} == written
    commit = subprocess.check_output(["git", "-C", ROOT, "rev-parse", "HEAD"], text=True).strip()
    assert config["git"] is None or config["git"]["commit"] == commit  # that of the folder it was started in
    assert (
        config["versions"]["torch"].split("+")[0]
        == json.loads((folder / "run.json").read_text())["versions"]["torch"].split("+")[0]
    )


def test_project_group_tags_and_name_come_from_the_command_line(run):
    found, folder = run
    (begun,) = [record.run for record in found if record.HasField("run")][:1]
    assert (begun.project, begun.run_group, begun.display_name) == ("mine", "of_two", "a_name")
    assert set(begun.tags) == {"first", "baseline"}
    assert json.loads((folder / "wandb.jsonl").read_text().splitlines()[0])["id"] == begun.run_id


def test_curves_and_panels_are_there(run):
    found, folder = run
    logged = rows(found)
    numbers = {"train/loss", "val/acc", "test/acc", "train/grad_norm", "train/images_per_second", "lr-SGD/pg1"}
    assert numbers <= logged.keys()
    scores = json.loads((folder / "evaluation.json").read_text())["scores"]
    for name, key in ("accuracy", "acc"), ("balanced accuracy", "balanced_accuracy"), ("macro F1", "macro_f1"):
        for side in "low", "high":
            assert logged[f"test/{key}_{side}"] == pytest.approx(scores[name][side])
    assert logged["test/macro_f1"] == pytest.approx(scores["macro F1"]["value"])
    for panel in (
        "train/first_batch",
        "test/confusion_matrix",
        "test/scores",
        "test/per_class_accuracy",
        "test/worst_mistakes",
    ):
        assert any(key.startswith(panel) for key in logged), panel
    media = folder / "wandb" / files(folder)[0].parent.name / "files" / "media"
    (table,) = media.glob("table/test/per_class_accuracy_*.json")
    evaluation = json.loads((folder / "evaluation.json").read_text())
    expected = [
        [name, row[i] / sum(row), sum(row)]
        for i, (name, row) in enumerate(zip(evaluation["classes"], evaluation["confusion"], strict=True))
    ]
    assert [row[:3] for row in json.loads(table.read_text())["data"]] == expected
    (table,) = media.glob("table/test/scores_*.json")
    low, high = json.loads(table.read_text())["data"][0][2:]
    assert low < evaluation["metrics"]["test/acc"] < high
    (table,) = media.glob("table/test/worst_mistakes_*.json")
    shown = json.loads(table.read_text())["data"]
    assert [row[1:] for row in shown] == [
        [m["image"], m["label"], m["prediction"], m["confidence"]] for m in evaluation["mistakes"]
    ]
    (pairs,) = media.glob("table/test/confusion_matrix_*.json")
    counts = {(row[0], row[1]): row[2] for row in json.loads(pairs.read_text())["data"]}
    classes = evaluation["classes"]
    assert all(
        counts[classes[i], classes[j]] == count
        for i, row in enumerate(evaluation["confusion"])
        for j, count in enumerate(row)
    )


def test_checkpoints_are_an_artifact_if_asked(run):
    found, _ = run
    artifacts = [record.request.log_artifact.artifact for record in found if record.request.HasField("log_artifact")]
    artifacts += [record.artifact for record in found if record.HasField("artifact")]
    names = {entry.path for artifact in artifacts if artifact.type == "model" for entry in artifact.manifest.contents}
    assert names


# Sweeps.


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda path: path.stem)
def test_the_agents_command_line_is_one_of_ours(sweep, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    config = yaml.safe_load(sweep.read_text())
    assert config["early_terminate"]["type"] == "hyperband"
    for first in (True, False):
        command = agents_command(config, first)
        assert command[0] == "lightning"
        with pytest.raises(SystemExit) as ended:
            main([*command[1:], "--print_config"])
        assert ended.value.code == 0
        printed = yaml.safe_load(capsys.readouterr().out)
        for name, value in values_of(config, first).items():
            at = {**printed, "data": printed["data"]["init_args"]}
            for key in name.split("."):
                at = at[key]
            assert at == pytest.approx(value)


def values_of(config: dict, first: bool) -> dict[str, object]:
    """What the server could draw: the first or last of the values, the ends of a range."""
    return {
        name: drawn["values"][0 if first else -1] if "values" in drawn else drawn["min" if first else "max"]
        for name, drawn in config["parameters"].items()
    }


def agents_command(config: dict, first: bool) -> list[str]:
    """As W&B's agent puts it together, by its own functions."""
    drawn = {name: {"value": value} for name, value in values_of(config, first).items()}
    words = create_sweep_command_args({"args": drawn})
    command = []
    for word in create_sweep_command(list(config["command"])):
        command += words[word[2:-1]] if word.startswith("${") else [word]
    return command


@pytest.mark.slow
def test_an_agents_command_starts_a_run_of_the_agents_id(tmp_path):
    config = yaml.safe_load((ROOT / "configs" / "sweeps" / "digits.yaml").read_text())
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    agent = {"WANDB_MODE": "offline", "WANDB_SWEEP_ID": "sweep1", "WANDB_RUN_ID": "given1", "PATH": path}
    command = [*agents_command(config, first=False), "--trainer.max_epochs=2"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **agent}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs" / "digits").iterdir()
    assert json.loads((folder / "wandb.jsonl").read_text().splitlines()[0])["id"] == "given1"
    (file,) = files(folder)
    logged = rows(records(file))
    assert config["metric"]["name"] in logged
    assert "wandb sync" in done.stdout + done.stderr


# Online.


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "5")
    server = WandbServer()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    wandb.teardown()
    yield server
    end()


@pytest.mark.slow
def test_a_server_that_goes_away_does_not_end_the_run(server, capsys):
    def close():
        server.streamed.wait(60)
        server.close()

    closing = threading.Thread(target=close)
    closing.start()
    assert main(["fit", *DIGITS, "--trainer.max_epochs", "3"]) == 0
    closing.join()
    said = capsys.readouterr()
    assert re.search(r"W&B could not log test/confusion_matrix; the run continues", said.out)
    (sync,) = re.findall(r"W&B has not received everything; upload the rest: wandb sync (\S+)", said.out)
    assert Path(sync).is_dir()
    assert list(Path(sync).glob("*.wandb"))
    (folder,) = Path("runs/digits").iterdir()
    assert json.loads((folder / "run.json").read_text())["state"] == "finished"


@pytest.mark.slow
def test_a_server_that_was_never_there_means_an_offline_run(server, capsys, monkeypatch):
    server.close()
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "5")
    assert main(["fit", *SHORT]) == 0
    assert "W&B cannot be reached: the run is tracked offline" in capsys.readouterr().out
    end()
    (folder,) = Path("runs/digits").iterdir()
    assert rows(records(files(folder)[0]))["test/acc"] > 0
