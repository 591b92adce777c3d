"""A checkpoint from outside runs no code and writes no file, whatever names it carries."""

import csv
import functools
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from commands import error_line
from resnet_lightning import ImageClassifier, InputError
from resnet_lightning.atomic_write import atomic_write_csv
from resnet_lightning.cli.console import SafeConsole
from resnet_lightning.cli.main import main
from resnet_lightning.experiments.studies.trained import data_of
from resnet_lightning.inference.loaded import load_model
from resnet_lightning.runs.reader import read_run
from resnet_lightning.trust import Trust

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")

# Each writes a file where the tests look for it.
COMMAND = "open('harmed', 'w').close()"
GADGETS = {
    "timed code": ("timeit.timeit", {"setup": COMMAND, "number": 1}),
    "a mock": ("unittest.mock.Mock", {}),
    "a repository": ("torch.hub.load", {"repo_or_dir": "harm", "source": "local", "model": "harm"}),
    "a log file": ("logging.basicConfig", {"filename": "harmed"}),
    "a module of its own": ("harm.run", {}),
    "a process": ("subprocess.check_output", {"args": ["touch", "harmed"]}),
    "code through torch": ("torch.utils.cpp_extension.load_inline", {"name": "harm", "cpp_sources": ""}),
    "a reader of pickles": ("torch.load", {"f": "harm.pt", "weights_only": False}),
}
COMMANDS = {
    "explain": lambda path: ["explain", path, "digit.png"],
    "export": lambda path: ["export", path, "--format", "torch_export", "--output", "x.pt2"],
    "features": lambda path: ["features", path, "--output", "features"],
    "test": lambda path: ["test", "--ckpt_path", path],
    "validate": lambda path: ["validate", "--ckpt_path", path],
    "predict": lambda path: ["predict", "--ckpt_path", path],
    "fit": lambda path: ["fit", "--ckpt_path", path, "--trainer.max_epochs", "3"],
}


@pytest.fixture
def hostile(digits_run, tmp_path):
    """Changes a good checkpoint, and writes it as another file."""
    (tmp_path / "harm.py").write_text(f"{COMMAND}\ndef run(*args, **kwargs): {COMMAND}\n")

    def write(change_hparams=None, change_config=None, **run):
        checkpoint = torch.load(digits_run / "checkpoints/best.ckpt", weights_only=True)
        config = yaml.safe_load(checkpoint["run"]["config"])
        if change_hparams:
            checkpoint["hyper_parameters"] |= change_hparams
            config["model"] |= change_hparams
        if change_config:
            change_config(config)
        checkpoint["run"] |= {"config": yaml.safe_dump(config), **run}
        torch.save(checkpoint, tmp_path / "hostile.ckpt")
        return "hostile.ckpt"

    return write


def is_unharmed(tmp_path):
    return not (tmp_path / "harmed").exists() and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("gadget", GADGETS)
def test_a_backbone_out_of_a_checkpoint_runs_no_code(hostile, gadget, tmp_path, capsys):
    path, options = GADGETS[gadget]
    checkpoint = hostile({"backbone": path, "backbone_args": options})
    for command in ("explain", "test", "fit"):
        assert main(COMMANDS[command](checkpoint)) == 2
        # The import of a module of torch may print warnings of its own.
        assert repr(path) in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(InputError, match="names backbone"):
        ImageClassifier.load_from_checkpoint(checkpoint)
    assert is_unharmed(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_calls_an_optimizer_or_schedule_that_is_none(hostile, command, tmp_path, capsys):
    path, options = GADGETS["timed code"]
    gadget = {"optimizer": "unittest.mock.Mock", "optimizer_args": {}, "scheduler": path, "scheduler_args": options}
    arguments = COMMANDS[command](hostile(gadget))
    if command == "fit":
        assert "unittest.mock.Mock" in error_line(capsys, *arguments)
    elif command != "explain":  # needs an image; an evaluation builds neither, and so may succeed
        assert main(arguments) == 0
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("part", ["loss", "metrics"])
def test_loss_and_metrics_out_of_a_checkpoint_run_no_code(hostile, part, tmp_path, capsys):
    path, options = GADGETS["timed code"]
    value = (
        {"loss": path, "loss_args": options}
        if part == "loss"
        else {"metrics": {"harm": {"class_path": path, "init_args": options}}}
    )
    checkpoint = hostile(value)
    assert repr(path) in error_line(capsys, *COMMANDS["test"](checkpoint))
    with pytest.raises(InputError, match=path):
        load_model(checkpoint)
    assert is_unharmed(tmp_path)


def callbacks(*entries):
    return lambda config: config["trainer"].update(callbacks=list(entries))


@pytest.mark.parametrize(
    "change",
    [
        callbacks({"class_path": "timeit.timeit", "init_args": {"setup": COMMAND}}),
        callbacks({"class_path": "harm.run"}),
        callbacks(
            {
                "class_path": "lightning.pytorch.callbacks.LambdaCallback",
                "init_args": {"setup": {"class_path": "timeit.timeit", "init_args": {"setup": COMMAND}}},
            }
        ),
        callbacks({"class_path": "lightning.pytorch.callbacks.LambdaCallback", "init_args": {"setup": "harm.run"}}),
        lambda config: config["data"].update(class_path="harm.run"),
        lambda config: config["trainer"].update(strategy={"class_path": "harm.run"}),
        lambda config: config["trainer"].update(plugins=[{"class_path": "subprocess.Popen", "init_args": {}}]),
        lambda config: config.update(model={"class_path": "harm.run", "init_args": {}}),
        lambda config: config["data"]["init_args"].update(augment={"class_path": "harm.run"}),
    ],
)
def test_the_config_of_a_checkpoint_names_no_code(hostile, change, tmp_path, capsys):
    checkpoint = hostile(change_config=change)
    assert "checkpoint" in error_line(capsys, *COMMANDS["fit"](checkpoint))
    assert is_unharmed(tmp_path)


def trainer(**options):
    return lambda config: config["trainer"].update(options)


def data(**options):
    return lambda config: config["data"]["init_args"].update(options)


HIDDEN = "{class_path: harm.run}"  # YAML in a text
NESTED = {"cluster_environment": "harm.run"}


@pytest.mark.parametrize(
    "change",
    [
        trainer(plugins=["harm.run"]),
        trainer(plugins="harm.run"),
        trainer(accelerator="harm.run"),
        trainer(callbacks=f"[{HIDDEN}]"),
        trainer(callbacks=[f" {HIDDEN}"]),
        trainer(logger=HIDDEN),
        trainer(logger="'harm.run' # quoted"),
        trainer(profiler=HIDDEN),
        trainer(strategy=HIDDEN),
        trainer(strategy={"class_path": "lightning.pytorch.strategies.DDPStrategy", "init_args": NESTED}),
        trainer(strategy={"class_path": "DDPStrategy", "init_args": {"ddp_comm_hook": "harm.run"}}),
        trainer(strategy={"class_path": "FSDPStrategy", "init_args": {"auto_wrap_policy": "harm.run"}}),
        callbacks({"class_path": "LambdaCallback", "init_args": {"setup": "harm.run"}}),
        callbacks({"class_path": "LambdaCallback", "dict_kwargs": {"setup": "harm.run"}}),
        callbacks({"class_path": "LambdaCallback", "init_args": {"setup": "os.getcwd"}}),
        callbacks({"class_path": "LambdaCallback", "init_args": {"setup": "builtins.print"}}),
        callbacks({"class_path": "StochasticWeightAveraging", "init_args": {"swa_lrs": 0.1, "avg_fn": "harm.run"}}),
        callbacks({"class_path": "ModelPruning", "init_args": {"pruning_fn": "harm.run"}}),
        lambda config: config.update(trainer=f"{{callbacks: [{HIDDEN}]}}"),
        lambda config: config.update(trainer="options.yaml"),
        lambda config: config.update(data="options.yaml"),
        lambda config: config.update(data="harm.run"),
        trainer(callbacks="options.yaml"),
        trainer(logger="options.yaml"),
        data(augment=HIDDEN),
        data(augment="harm.run"),
        data(augment={"transform": "Compose", "transform_args": {"transforms": [{"class_path": "harm.run"}]}}),
    ],
)
def test_no_text_in_the_config_of_a_checkpoint_hides_a_name(hostile, change, tmp_path, capsys):
    (tmp_path / "options.yaml").write_text("class_path: harm.run\n")
    checkpoint = hostile(change_config=change)
    assert "checkpoint" in error_line(capsys, *COMMANDS["fit"](checkpoint))
    assert is_unharmed(tmp_path)


def test_no_subclass_is_built_by_the_library_that_parses_configs(hostile, tmp_path):
    for hidden in ({"class_path": "harm.run"}, HIDDEN):
        checkpoint = hostile({"backbone": hidden, "_instantiator": "lightning.pytorch.cli.instantiate_module"})
        with pytest.raises(InputError, match="harm"):
            ImageClassifier.load_from_checkpoint(checkpoint)
    assert is_unharmed(tmp_path)


@pytest.mark.slow
def test_a_package_in_the_current_folder_is_none_of_the_libraries(hostile, tmp_path):
    (tmp_path / "timm.py").write_text(COMMAND)
    arguments = COMMANDS["test"](hostile({"backbone": "timm.x"}))
    code = f"from resnet_lightning.cli.main import main; main({arguments})"
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "--trust timm" in result.stderr
    assert is_unharmed(tmp_path)


def test_trust_in_a_package_covers_no_other_that_begins_alike(hostile, tmp_path, capsys):
    for trusted in ("har", "harm_", "harm.ru", "arm"):
        line = error_line(capsys, *COMMANDS["test"](hostile({"backbone": "harm.run"})), "--trust", trusted)
        assert "--trust harm" in line
    assert is_unharmed(tmp_path)


def test_metrics_of_other_fields_load_nothing(hostile, capsys):
    checkpoint = hostile({"metrics": {"rouge": {"class_path": "torchmetrics.text.ROUGEScore", "init_args": {}}}})
    assert "--trust torchmetrics.text" in error_line(capsys, *COMMANDS["test"](checkpoint))


def test_functions_of_libraries_are_not_the_user_s_own(tmp_path, monkeypatch):
    library = tmp_path / "dist-packages"
    library.mkdir()
    (library / "installed_elsewhere.py").write_text("def run(*args, **kwargs): raise AssertionError\n")
    monkeypatch.syspath_prepend(library)
    import installed_elsewhere

    trust = Trust()
    trust.check_import("backbone", "installed_elsewhere.run")
    with pytest.raises(InputError, match="could run any code"):
        trust.check_call("backbone", "installed_elsewhere.run", installed_elsewhere.run)


def test_an_evaluation_builds_no_callback_of_the_checkpoint(hostile, tmp_path):
    entry = {"class_path": "lightning.pytorch.callbacks.LambdaCallback", "init_args": {"setup": "harm.run"}}
    assert main(COMMANDS["test"](hostile(change_config=callbacks(entry)))) == 0
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["trainer"].update(default_root_dir="../elsewhere"),
        lambda config: config["trainer"].update(default_root_dir="~/elsewhere"),
        lambda config: config["checkpoint"].update(dirpath="/tmp/elsewhere"),
        lambda config: config.update(
            data={"class_path": "resnet_lightning.data.MNISTDataModule", "init_args": {"root": "../elsewhere"}}
        ),
        lambda config: config["trainer"].update(
            profiler={
                "class_path": "lightning.pytorch.profilers.SimpleProfiler",
                "init_args": {"dirpath": "../elsewhere", "filename": "x"},
            }
        ),
        lambda config: config["trainer"].update(
            logger=[
                {
                    "class_path": "lightning.pytorch.loggers.CSVLogger",
                    "init_args": {"save_dir": "../elsewhere", "name": "x"},
                }
            ]
        ),
        lambda config: config["checkpoint"].update(filename="../../elsewhere"),
        trainer(logger={"class_path": "CSVLogger", "init_args": {"save_dir": "runs", "name": "../../elsewhere"}}),
        trainer(profiler={"class_path": "SimpleProfiler", "init_args": {"filename": "../../elsewhere"}}),
        trainer(default_root_dir="s3://bucket/runs"),
        trainer(logger={"class_path": "MLFlowLogger", "init_args": {"tracking_uri": "http://elsewhere"}}),
        data(cache_folder="../elsewhere"),
    ],
)
def test_the_config_of_a_checkpoint_leads_to_no_other_folder(hostile, change, tmp_path, capsys):
    line = error_line(capsys, *COMMANDS["fit"](hostile(change_config=change)))
    assert "outside of the current folder" in line
    assert not (tmp_path.parent / "elsewhere").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["checkpoint"].update(dirpath="src"),
        lambda config: config["checkpoint"].update(dirpath=".git/hooks"),
        trainer(logger={"class_path": "CSVLogger", "init_args": {"save_dir": ".", "name": "src"}}),
        trainer(logger={"class_path": "CSVLogger", "init_args": {"save_dir": "a", "version": "x/../../b"}}),
        trainer(profiler={"class_path": "SimpleProfiler", "init_args": {"dirpath": ".", "filename": "Makefile"}}),
        callbacks({"class_path": "OnExceptionCheckpoint", "init_args": {"dirpath": "src"}}),
        callbacks({"class_path": "resnet_lightning.training.callbacks.PredictionWriter", "init_args": {"path": "x"}}),
    ],
)
def test_the_config_of_a_checkpoint_writes_to_no_other_file_here(hostile, change, capsys):
    more = ["--trainer.callbacks+=Timer"]  # adds to what the checkpoint has, and replaces nothing
    line = error_line(capsys, *COMMANDS["fit"](hostile(change_config=change)), *more)
    assert "outside of the run's folder" in line


@pytest.mark.parametrize("name", ["../elsewhere", "/tmp/elsewhere", "..", "", "a\x1b]0;b"])
def test_the_name_of_a_run_is_that_of_a_folder(hostile, name, capsys):
    assert "no name of a folder" in error_line(capsys, *COMMANDS["predict"](hostile(name=name)))


class Trusted(nn.Module):
    """A user's own network."""

    def __init__(self, num_classes, in_chans):
        super().__init__()
        self.fc = nn.Linear(64 * in_chans, num_classes)

    def forward(self, x):
        return self.fc(x.flatten(1))


def trusted_function(num_classes, in_chans) -> nn.Module:
    return Trusted(num_classes, in_chans)


@pytest.mark.parametrize(
    "data",
    [
        {"class_path": "harm.run"},
        {"class_path": "timeit.timeit", "init_args": {"setup": COMMAND, "number": 1}},
        {
            "class_path": "resnet_lightning.data.DigitsDataModule",
            "init_args": {"root": {"class_path": "timeit.timeit"}},
        },
        {"class_path": "torch.nn.Identity"},
        "harm.run",
    ],
)
def test_the_folder_of_a_study_names_no_code(hostile, data, tmp_path):
    hostile()
    Path("run").mkdir()
    Path("run/config.yaml").write_text(yaml.safe_dump({"data": data}))
    with pytest.raises(InputError, match="names"):
        data_of(read_run("run"))
    assert is_unharmed(tmp_path)


def test_code_that_has_been_imported_is_the_user_s_own(tmp_path):
    from lightning import Trainer

    for own in (Trusted, trusted_function):
        path = f"{own.__module__}.{own.__name__}"
        classifier = ImageClassifier(path, 10, 1, optimizer="torch.optim.AdamW")
        trainer = Trainer(logger=False, enable_checkpointing=False)
        trainer.strategy.connect(classifier)
        trainer.save_checkpoint("own.ckpt")
        loaded = ImageClassifier.load_from_checkpoint("own.ckpt")
        assert torch.equal(loaded.backbone.fc.weight, classifier.backbone.fc.weight)


@pytest.mark.slow
def test_a_package_is_trusted_by_name(tmp_path, capsys):
    (tmp_path / "own_net.py").write_text(
        "from resnet_lightning import create_model\n"
        "def net(num_classes, in_chans):\n"
        "    return create_model('resnet20', num_classes=num_classes, in_chans=in_chans)\n"
    )
    program = [sys.executable, "-m", "resnet_lightning"]
    short = ["--trainer.fast_dev_run", "false", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2"]
    fit = [*program, "fit", "--config", "digits", "--model.backbone", "own_net.net", *short, "--resume", "run"]
    printed = subprocess.run(fit, check=True, capture_output=True, text=True).stdout
    assert "test --ckpt_path run/checkpoints/best.ckpt --trust own_net" in printed
    test = [*program, "test", "--ckpt_path", "run/checkpoints/last.ckpt"]
    refused = subprocess.run(test, check=False, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "--trust own_net" in refused.stderr
    subprocess.run([*test, "--trust", "own_net"], check=True, capture_output=True)


def test_networks_of_the_libraries_need_no_trust(hostile):
    import torchvision

    classifier = ImageClassifier("torchvision.models.resnet18", 10, 3, backbone_args={"weights": None})
    torch.save(
        {
            "state_dict": classifier.state_dict(),
            "hyper_parameters": dict(classifier.hparams),
            "pytorch-lightning_version": "2.6.6",
        },
        "theirs.ckpt",
    )
    loaded = ImageClassifier.load_from_checkpoint("theirs.ckpt")
    assert isinstance(loaded.backbone, torchvision.models.ResNet)


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"class_names": ["a"]}},
        {"data": {"in_chans": 10**9}},
        {"hyper_parameters": {"metrics": [1]}},
        {"hyper_parameters": {"backbone_args": ["x"]}},
    ],
)
def test_parts_that_do_not_fit_are_one_line(hostile, change, capsys):
    checkpoint = torch.load(hostile(), weights_only=True)
    checkpoint["hyper_parameters"] |= change.get("hyper_parameters", {})
    checkpoint["run"]["data"] |= change.get("data", {})
    torch.save(checkpoint, "hostile.ckpt")
    error_line(capsys, *COMMANDS["explain"]("hostile.ckpt"))


@pytest.mark.parametrize(
    "evaluation", ["[]", '{"metrics": [1], "checkpoint": "best.ckpt"}', '{"checkpoint": "best.ckpt"}']
)
@pytest.mark.parametrize("metrics", ["epoch,val/acc\n1,abc\n", {}])
def test_results_of_others_that_are_damaged_are_left_out(hostile, evaluation, metrics, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    Path("evaluation.json").write_text(evaluation)
    Path(hostile(metrics=metrics)).rename("checkpoints/best.ckpt")
    assert load_model("checkpoints/best.ckpt").metrics == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_compressed_checkpoint_is_refused(command, tmp_path, capsys):
    with zipfile.ZipFile("bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(20_000_000))
    assert "compressed" in error_line(capsys, *COMMANDS[command]("bomb.ckpt"))
    with pytest.raises(InputError, match="compressed"):
        ImageClassifier.load_from_checkpoint("bomb.ckpt")


def test_a_checkpoint_that_repeats_its_parts_is_refused(hostile):
    repeated: list = []
    for _ in range(40):
        repeated = [repeated, repeated]
    for bomb in (torch.zeros(1).expand(10**12), repeated, functools.reduce(lambda inner, _: [inner], range(200), [])):
        checkpoint = torch.load(hostile(), weights_only=True)
        checkpoint["state_dict"]["backbone.bomb"] = bomb
        torch.save(checkpoint, "bomb.ckpt")
        with pytest.raises(InputError, match="no checkpoint of torch"):
            ImageClassifier.load_from_checkpoint("bomb.ckpt")


def test_no_escape_sequence_reaches_the_terminal():
    shown = io.StringIO()
    SafeConsole(file=shown, force_terminal=True, color_system=None).print("a \x1b]0;title\x07 [bold]b\x9b2J")
    assert "\x1b]" not in shown.getvalue()
    assert "\x07" not in shown.getvalue()
    assert "\x9b" not in shown.getvalue()
    assert r"\x1b]0;title" in shown.getvalue()


def test_no_cell_of_a_csv_file_is_a_formula(tmp_path):
    atomic_write_csv("cells.csv", [["=1+1", "@x", "-5", "+a", "plain", -3.5, Path("-a.png"), Path("b.png")]])
    (cells,) = csv.reader(Path("cells.csv").read_text().splitlines())
    assert cells == ["'=1+1", "'@x", "-5", "'+a", "plain", "-3.5", "./-a.png", "b.png"]
