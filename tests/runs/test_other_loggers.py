"""TensorBoard and MLflow: what they get of a run, also if it is resumed, and what happens where they are missing."""

import csv
import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from repository import ROOT
from resnet_lightning.cli.main import main
from runs_alike import working_in

DIGITS = ["--config", str(ROOT / "configs" / "digits.yaml"), "--trainer.limit_train_batches", "4"]
pytestmark = [  # warnings of these packages themselves
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # unclosed databases
]
INSTALL = "not installed: pip install tensorboard mlflow-skinny sqlalchemy alembic"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that went back from its third epoch to its second and was resumed."""
    for package in "tensorboard", "mlflow", "sqlalchemy", "alembic":
        pytest.importorskip(package, reason=INSTALL)
    with working_in(tmp_path_factory.mktemp("run")):  # MLflow stores the address of its database in the environment
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        loggers = ["--overlay", "tensorboard", "--overlay", "mlflow"]
        factors = ["--model.lr_factors", "{fc.*: 1.0}"]  # MLflow refuses a name with an asterisk
        command = ["fit", *DIGITS, *loggers, *factors, "--trainer.max_epochs", "3", "--resume", "run"]
        assert main(command) == 0
        checkpoints = Path("run/checkpoints")
        shutil.move(checkpoints / "previous.ckpt", checkpoints / "last.ckpt")
        assert main([*command, "--model.lr", "0.1"]) == 0
        yield Path("run").absolute()


def rows(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The rows of metrics.csv by metric: step and value."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in csv.DictReader((folder / "metrics.csv").read_text().splitlines()):
        for name, cell in row.items():
            if cell and name not in ("epoch", "step"):
                found.setdefault(name, []).append((int(row["step"]), float(cell)))
    return found


SPEED = "train/images_per_second"  # differs when a part is repeated


@pytest.mark.slow
def test_tensorboard_has_each_row_once(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    expected = rows(run)
    assert {"train/loss", "val/acc", "test/acc", "lr-SGD/pg1"} <= expected.keys()
    for name, values in expected.items():
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == [step for step, _ in values], name
        if name != SPEED:
            assert [value for _, value in found] == pytest.approx([value for _, value in values]), name


@pytest.mark.slow
def test_tensorboard_has_config_figures_and_tables(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["images"]) == {
        *("train/first_batch", "test/confusion_matrix", "test/reliability", "test/worst_mistakes")
    }
    assert [event.step for event in events.Images("test/confusion_matrix")] == [12]
    png = events.Images("train/first_batch")[0].encoded_image_string
    assert png.startswith(b"\x89PNG")
    assert len(png) > 1000
    texts = {
        tag: events.Tensors(f"{tag}/text_summary")[-1].tensor_proto.string_val[0].decode()
        for tag in ("config", "test/per_class_accuracy", "test/worst_mistakes")
    }
    config = yaml.safe_load((run / "config.yaml").read_text())
    shown = yaml.safe_load(texts["config"].removeprefix("```yaml").removesuffix("```"))
    assert {key: shown[key] for key in config} == config
    evaluation = json.loads((run / "evaluation.json").read_text())
    (event,) = events.Scalars("test/balanced_accuracy_high")
    assert event.value == pytest.approx(evaluation["scores"]["balanced accuracy"]["high"])
    classes = evaluation["classes"]
    lines = texts["test/per_class_accuracy"].splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == classes
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = HParamsPluginData.FromString(content).session_start_info.hparams
    assert hparams["model.lr"].number_value == 0.1
    assert hparams["data.batch_size"].number_value == 64


@pytest.fixture
def mlflow_run(run):
    """MLflow's client and its only run."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{run / 'mlflow' / 'mlflow.db'}")
    (experiment,) = (found for found in client.search_experiments() if found.name == "resnet_lightning")
    (found,) = client.search_runs([experiment.experiment_id])
    return client, found


@pytest.mark.slow
def test_mlflow_has_one_run_and_each_row_once(run, mlflow_run):
    client, found = mlflow_run
    assert found.info.status == "FINISHED"
    for name, values in rows(run).items():
        history = {row.step: row.value for row in client.get_metric_history(found.info.run_id, name)}
        counts = Counter(row.step for row in client.get_metric_history(found.info.run_id, name))
        assert set(counts.values()) == {1}, name
        assert sorted(history) == [step for step, _ in values], name
        if name != SPEED:
            assert [history[step] for step, _ in values] == pytest.approx([value for _, value in values]), name


@pytest.mark.slow
def test_mlflow_has_config_figures_and_tables(run, mlflow_run):
    client, found = mlflow_run
    assert (found.data.params["model.lr"], found.data.params["data"].rpartition(".")[2]) == ("0.1", "DigitsDataModule")
    assert found.data.params["model.lr_factors.fc._"] == "1.0"
    stored = Path(client.download_artifacts(found.info.run_id, "."))
    config = yaml.safe_load((run / "config.yaml").read_text())
    shown = yaml.safe_load((stored / "config.yaml").read_text())
    assert {key: shown[key] for key in config} == config
    for name in "train/first_batch", "test/confusion_matrix", "test/reliability", "test/worst_mistakes":
        assert (stored / f"{name}.png").read_bytes() == (run / f"pictures/{Path(name).name}.png").read_bytes()
    evaluation = json.loads((run / "evaluation.json").read_text())
    accuracies = list(csv.DictReader((stored / "test/per_class_accuracy.csv").read_text().splitlines()))
    assert [int(row["images"]) for row in accuracies] == [sum(line) for line in evaluation["confusion"]]
    assert found.data.metrics["test/macro_f1"] == pytest.approx(evaluation["scores"]["macro F1"]["value"])
    assert found.data.metrics["test/acc_low"] == pytest.approx(evaluation["scores"]["accuracy"]["low"])
    mistakes = list(csv.DictReader((stored / "test/worst_mistakes.csv").read_text().splitlines()))
    assert [row["image"] for row in mistakes] == [mistake["image"] for mistake in evaluation["mistakes"]]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_package_ends_in_one_line(name, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    finders = list(sys.meta_path)
    monkeypatch.setattr(sys, "meta_path", [Without(name, finders)])
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    assert main(["fit", *DIGITS, "--overlay", name]) == 2
    error = capsys.readouterr().err
    assert f"pip install 'resnet-lightning[{name}]'" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


class Without:
    """Finds modules as Python does, except those of one package."""

    def __init__(self, name, finders):
        self.name = name
        self.finders = finders

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] == self.name:
            return None
        return next((spec for finder in self.finders if (spec := finder.find_spec(fullname, path, target))), None)
