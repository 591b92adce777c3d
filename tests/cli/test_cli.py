"""``fit``, ``validate``, ``test`` and ``predict``, mostly in this process: ``main`` returns the exit code."""

import contextlib
import csv
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from commands import error_line
from repository import ROOT
from resnet_lightning import ImageClassifier, create_model
from resnet_lightning.cli.main import main
from runs_alike import DDP, working_in

DIGITS = str(ROOT / "configs" / "digits.yaml")
OVERLAYS = ROOT / "configs" / "overlays"
SHORT = ["--config", DIGITS, "--trainer.max_epochs", "2", "--trainer.limit_train_batches", "4"]


pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """A run of two short epochs, with all of its figures: its working folder, and what it printed."""
    folder, printed = tmp_path_factory.mktemp("first_run"), io.StringIO()
    with working_in(folder), contextlib.redirect_stdout(printed):
        assert main(["fit", *SHORT]) == 0
    return folder, printed.getvalue()


@pytest.fixture
def run_folder(first_run, in_an_empty_folder):
    """The folder of that run, copied into the folder of the test."""
    shutil.copytree(first_run[0], ".", dirs_exist_ok=True)
    return only_run("digits")


def run_program(*arguments: str) -> subprocess.CompletedProcess:
    """Runs a command in a process of its own, which can neither use a terminal nor ask a question."""
    command = [sys.executable, "-m", "resnet_lightning", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done


def only_run(name: str) -> Path:
    (folder,) = Path("runs", name).iterdir()
    return folder


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def last_value(folder: Path, name: str) -> float:
    return float([row[name] for row in metrics(folder) if row[name]][-1])


def write_images(folder: Path, classes: list[str], count: int, size: int = 32) -> None:
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(folder / name / f"{i}.png")


# A run and its files.


def test_fit_leaves_config_metrics_and_checkpoints_in_one_folder(run_folder):
    files = {str(path.relative_to(run_folder)) for path in run_folder.rglob("*") if path.is_file()}
    checkpoints = {f"checkpoints/{name}.ckpt" for name in ("best", "last", "previous")}
    names = "first_batch", "learning_curves", "confusion_matrix", "reliability", "worst_mistakes"
    pictures = {f"pictures/{name}.png" for name in names}
    texts = {"config.yaml", "hparams.yaml", "metrics.csv", "run.json", "evaluation.json"}
    assert files == {*texts, *checkpoints, *pictures}
    assert {path.name for path in Path.cwd().iterdir()} == {"runs"}
    assert last_value(run_folder, "lr-SGD/pg1") > 0


def test_fit_tests_the_best_checkpoint_and_prints_the_result(first_run, run_folder):
    _, out = first_run
    assert f"{last_value(run_folder, 'test/acc'):.2%}" in out
    assert "269,434 parameters" in out
    assert "images a second" in out
    assert str(run_folder) in out
    assert f"test --ckpt_path {run_folder}/checkpoints/best.ckpt" in out


def test_the_best_checkpoint_is_the_one_with_the_lowest_validation_loss(run_folder):
    losses = [float(row["val/loss"]) for row in metrics(run_folder) if row["val/loss"]]
    best = torch.load(run_folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == losses.index(min(losses))


def test_the_last_checkpoint_is_the_last_even_when_an_earlier_one_is_best():
    # The loss is lowest after the first epoch: in the second, the learning rate is absurdly large.
    rate = [
        "--model.scheduler",
        "MultiStepLR",
        "--model.scheduler_args",
        "{milestones: [0.5], gamma: 50}",
        "--model.lr",
        "0.02",
    ]
    assert main(["fit", *SHORT, *rate]) == 0
    folder = only_run("digits") / "checkpoints"
    saved = {name: torch.load(folder / f"{name}.ckpt", weights_only=True)["epoch"] for name in ("best", "last")}
    assert saved == {"best": 0, "last": 2}  # the epoch to resume with


def test_without_validation_images_the_last_checkpoint_is_tested(capsys):
    assert main(["fit", *SHORT, "--data.val_split", "0"]) == 0
    folder = only_run("digits")
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert f"test --ckpt_path {folder}/checkpoints/last.ckpt" in capsys.readouterr().out


def test_further_runs_get_folders_of_their_own_and_the_seed_decides_them(run_folder):
    kept = {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}
    main(["fit", *SHORT])
    main(["fit", *SHORT, "--seed_everything", "1"])
    assert all(path.read_bytes() == content for path, content in kept.items())
    first, same, other = (last_value(folder, "train/loss") for folder in sorted(Path("runs/digits").iterdir()))
    assert first == same != other


@pytest.mark.parametrize("options", [["--resume", "mine/run"], ["--trainer.default_root_dir", "mine"]], ids=str)
def test_a_run_that_fails_removes_the_folders_that_it_created_and_no_others(options, capsys):
    wrong = ["fit", *SHORT, "--trainer.strategy", "nothing", *options]
    error_line(capsys, *wrong)  # which checks that nothing is left
    for folder in "mine/run", "mine/digits", "mine":
        Path(folder).mkdir(parents=True, exist_ok=True)
        error_line(capsys, *wrong)
        assert Path(folder).is_dir()
        shutil.rmtree("mine")


# Checkpoints.


def test_a_checkpoint_is_tested_with_its_own_config(run_folder, capsys):
    accuracy = last_value(run_folder, "test/acc")
    assert main(["test", "--ckpt_path", str(run_folder / "checkpoints" / "best.ckpt")]) == 0
    assert re.search(rf"test/acc +│ {accuracy:.4f}", capsys.readouterr().out)


def test_a_checkpoint_is_validated_with_its_own_config(run_folder, capsys):
    best = min(float(row["val/loss"]) for row in metrics(run_folder) if row["val/loss"])
    assert main(["validate", "--ckpt_path", str(run_folder / "checkpoints" / "best.ckpt")]) == 0
    assert re.search(rf"val/loss +│ {best:.4f}", capsys.readouterr().out)


def test_testing_an_untrained_model_prints_a_warning(capsys):
    assert main(["test", "--config", DIGITS, "--trainer.limit_test_batches", "1"]) == 0
    assert "the model is untrained" in capsys.readouterr().out


def test_typed_options_win_over_the_checkpoint(run_folder):
    last = str(run_folder / "checkpoints" / "last.ckpt")
    assert main(["fit", "--ckpt_path", last, "--trainer.max_epochs", "3", "--model.label_smoothing", "0.2"]) == 0
    folder = max(Path("runs/digits").iterdir())
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["trainer"]["max_epochs"] == 3
    assert config["model"]["label_smoothing"] == 0.2
    assert config["model"]["backbone"] == "resnet20"


def test_training_resumes_from_a_checkpoint(run_folder):
    last = str(run_folder / "checkpoints" / "last.ckpt")
    assert main(["fit", "--ckpt_path", last, "--trainer.max_epochs", "4"]) == 0
    folder = max(Path("runs/digits").iterdir())
    assert [int(row["epoch"]) for row in metrics(folder) if row["train/loss"]] == [0, 1, 2, 3]
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 16


@pytest.mark.slow
def test_fine_tuning_starts_from_weights_that_it_does_not_need_again(run_folder, tmp_path, capsys):
    start = (run_folder / "checkpoints" / "best.ckpt").rename(tmp_path / "start.ckpt")
    before = torch.load(start, weights_only=True)["state_dict"]
    options = ["--model.backbone_args.pretrained", str(start), "--model.backbone_args.frozen_stages", "2"]
    assert main(["fit", *SHORT, *options, "--trainer.default_root_dir", "tuned"]) == 0
    assert "pretrained: 116 of 116 tensors from" in capsys.readouterr().out
    (checkpoint,) = Path("tuned").rglob("last.ckpt")
    after = torch.load(checkpoint, weights_only=True)["state_dict"]
    frozen = [key for key in before if key.split(".")[1] in ("conv1", "bn1", "layer1", "layer2")]
    assert len(frozen) == 78
    assert all(torch.equal(after[key], before[key]) == (key in frozen) for key in before)

    start.unlink()
    ImageClassifier.load_from_checkpoint(checkpoint)
    assert main(["test", "--ckpt_path", str(checkpoint)]) == 0
    assert main(["fit", "--ckpt_path", str(checkpoint), "--trainer.max_epochs", "3"]) == 0


def test_the_config_in_the_folder_repeats_the_run(run_folder):
    assert main(["fit", "--config", str(run_folder / "config.yaml")]) == 0
    again = only_run("config")
    assert last_value(again, "train/loss") == last_value(run_folder, "train/loss")


# Predictions.


def test_predict_writes_a_line_for_each_test_image(run_folder):
    checkpoint = run_folder / "checkpoints" / "best.ckpt"
    assert main(["predict", "--ckpt_path", str(checkpoint)]) == 0
    (path,) = Path("runs/digits").glob("*/predictions.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == list(range(355))
    assert {row["label"] for row in rows} <= set("0123456789")
    assert all(0.1 <= float(row["probability"]) <= 1 for row in rows)
    # The labels are those of the model itself.
    from resnet_lightning import DigitsDataModule

    data = DigitsDataModule()
    net = ImageClassifier.load_from_checkpoint(checkpoint).eval()
    images = data.normalize(data.split("test").images.permute(0, 3, 1, 2))
    with torch.no_grad():
        labels = net(images).argmax(dim=1)
    assert [int(row["label"]) for row in rows] == labels.tolist()


def test_predict_takes_a_folder_of_images(run_folder):
    write_images(Path("pictures"), ["a", "b"], count=2, size=20)
    checkpoint = str(run_folder / "checkpoints" / "best.ckpt")
    assert main(["predict", "--ckpt_path", checkpoint, "--data.predict_folder", "pictures"]) == 0
    (path,) = Path("runs/digits").glob("*/predictions.csv")
    with path.open() as file:
        files = [row["file"] for row in csv.DictReader(file)]
    assert files == ["pictures/a/0.png", "pictures/a/1.png", "pictures/b/0.png", "pictures/b/1.png"]


# Configs and options.


def test_print_config_prints_a_config_that_runs(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *SHORT, "--model.lr", "0.05", "--print_config"])
    assert not stopped.value.code
    text = capsys.readouterr().out
    Path("printed.yaml").write_text(text)
    assert yaml.safe_load(text)["model"]["lr"] == 0.05
    assert main(["fit", "--config", "printed.yaml"]) == 0
    assert len(metrics(only_run("printed"))) > 0


def test_later_configs_overlay_earlier_ones(capsys):
    Path("overlay.yaml").write_text("model: {lr: 0.01}\ntrainer: {max_epochs: 7}\n")
    with pytest.raises(SystemExit):
        main(["fit", *SHORT, "--config", "overlay.yaml", "--trainer.max_epochs", "9", "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["model"]["lr"] == 0.01
    assert config["model"]["label_smoothing"] == 0.1
    assert config["trainer"]["max_epochs"] == 9


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_help_shows_what_matters_first(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert not stopped.value.code
    out = capsys.readouterr().out
    assert out.index("--model.backbone") < out.index("--trainer.accelerator")
    assert "a name from ``list_models()``" in out


CONFIGS = sorted(path for folder in (".", "speed") for path in (ROOT / "configs" / folder).glob("*.yaml"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_headed_by_its_command_and_figure(config):
    head = "".join(line for line in config.read_text().splitlines(keepends=True) if line.startswith("#"))
    assert re.search(rf"^#   lightning fit --config (speed/)?{config.stem}\b", head, re.MULTILINE)
    assert re.search(r"Expected|Published|no figure", head)
    assert re.search(r"^# Cost: .+\.$", head, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_trains_and_its_checkpoint_loads_without_arguments(config, tmp_path, monkeypatch):
    """On random images and pretrained weights; tests/data reads the files of the data sets."""
    weights = tmp_path / "hub" / "checkpoints"
    weights.mkdir(parents=True)
    torch.save(create_model("resnet18").state_dict(), weights / "resnet18-f37072fd.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    options = yaml.safe_load(config.read_text())["data"]["init_args"]
    data = []
    if "Digits" not in config.read_text():
        classes = options.get("classes") or ["airplane", "bird", "cat"]
        write_images(Path("images/train"), classes, count=8)
        write_images(Path("images/test"), classes, count=2)
        data = ["--data", "ImageFolderDataModule", "--data.root", "images", "--data.val_split", "0.25"]
    limits = ["--data.batch_size", "8", "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1"]
    if "unfreeze" in config.read_text():
        limits += ["--model.unfreeze", "{0: layer4}"]
    assert main(["fit", "--config", str(config), *data, *limits]) == 0
    folder = only_run(config.stem) / "checkpoints"
    path = folder / "best.ckpt"
    saved = torch.load(path, weights_only=True)
    module = ImageClassifier.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    assert module.hparams["backbone"] == yaml.safe_load(config.read_text())["model"]["backbone"]
    assert all(torch.equal(value, saved["state_dict"][key]) for key, value in module.state_dict().items())

    # All of them, in a process in which nothing was trained.
    script = (
        "import sys, torch; from resnet_lightning import ImageClassifier\n"
        "for path in sys.argv[1:]:\n"
        "    torch.load(path, weights_only=True)\n"
        "    print({p.device.type for p in ImageClassifier.load_from_checkpoint(path).parameters()})"
    )
    paths = sorted(map(str, folder.glob("*.ckpt")))
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["{'cpu'}"] * 2


# Overlays.


def test_debug_runs_one_batch_and_writes_nothing(capsys):
    assert main(["fit", "--config", DIGITS, "--config", str(OVERLAYS / "debug.yaml")]) == 0
    assert "Nothing was saved" in capsys.readouterr().out
    assert not list(Path.cwd().iterdir())


def test_bf16_trains_in_mixed_precision(run_folder):
    assert main(["fit", *SHORT, "--config", str(OVERLAYS / "bf16.yaml")]) == 0
    folder = max(Path("runs/digits").iterdir())
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["state_dict"]["backbone.conv1.weight"].dtype == torch.float32
    # bfloat16 has 8 significant bits, so the loss differs from that of the float32 run.
    losses = {last_value(folder, "train/loss") for folder in Path("runs/digits").iterdir()}
    assert len(losses) == 2


def test_csv_replaces_another_logger():
    configs = ["--config", str(OVERLAYS / "wandb.yaml"), "--config", str(OVERLAYS / "csv.yaml")]
    assert main(["fit", *SHORT, *configs]) == 0
    assert not (only_run("digits") / "wandb").exists()
    assert metrics(only_run("digits"))


@pytest.mark.slow
def test_wandb_runs_offline_if_nobody_is_logged_in(monkeypatch, tmp_path):
    for name in "WANDB_API_KEY", "WANDB_MODE":
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    done = run_program("fit", *SHORT, "--config", str(OVERLAYS / "wandb.yaml"))
    (run,) = (only_run("digits") / "wandb").glob("offline-run-*")
    assert f"wandb sync {run}" in done.stdout + done.stderr
    (record,) = run.glob("*.wandb")
    content = record.read_bytes()
    assert b"val/acc" in content
    # The whole nested config, not only the model's.
    assert b"DigitsDataModule" in content
    assert b"limit_train_batches" in content
    assert metrics(only_run("digits"))


def test_early_stopping_stops_early():
    # An improvement by 1.0 is out of reach, so the first epoch stays the best, and patience ends with the second.
    text = (OVERLAYS / "early_stopping.yaml").read_text().replace("patience: 5", "patience: 1\n        min_delta: 10.0")
    Path("impatient.yaml").write_text(text)
    assert main(["fit", *SHORT, "--config", "impatient.yaml", "--trainer.max_epochs", "9"]) == 0
    assert max(int(row["epoch"]) for row in metrics(only_run("digits")) if row["train/loss"]) == 1


@pytest.mark.slow
def test_compile_trains_and_its_checkpoint_has_plain_keys():
    small = ["--model.backbone", "own_parts.net", "--model.backbone_args", "{}"]
    assert main(["fit", *SHORT, "--config", str(OVERLAYS / "compile.yaml"), *small]) == 0
    saved = torch.load(only_run("digits") / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["hyper_parameters"]["compile"] is True
    assert not any("_orig_mod" in key for key in saved["state_dict"])


# Two processes.


@pytest.mark.slow
def test_ddp_starts_two_processes_and_writes_one_folder():
    done = run_program("fit", *SHORT, "--config", str(OVERLAYS / "ddp.yaml"))
    assert "2 x cpu" in done.stdout
    assert done.stdout.count("test accuracy") == 1
    folder = only_run("digits")
    assert sorted({int(row["epoch"]) for row in metrics(folder) if row["train/loss"]}) == [0, 1]
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 8
    assert not any("module." in key for key in saved["state_dict"])


@pytest.mark.slow
def test_two_processes_measure_exactly_what_one_does(run_folder, warm):
    """355 images in batches of 64: in the last step, one process gets more images than the other."""
    best = str(run_folder / "checkpoints" / "best.ckpt")
    wanted = {name: f"{last_value(run_folder, name):.4f}" for name in ("test/acc", "test/acc5", "test/loss")}
    out = warm.run_together("test", "--ckpt_path", best, "--config", DIGITS, *DDP)
    for name, value in wanted.items():
        assert re.search(rf"{name} +│ {value}", out), out


@pytest.mark.slow
def test_two_processes_predict_every_image_once(run_folder, warm):
    best = str(run_folder / "checkpoints" / "best.ckpt")
    main(["predict", "--ckpt_path", best])
    warm.run_together("predict", "--ckpt_path", best, "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu")
    one, two = (path.read_text() for path in Path("runs/digits").glob("*/predictions.csv"))
    one, two = ([row.rsplit(",", 1)[0] for row in text.splitlines()] for text in (one, two))
    assert one == two
    assert len(one) == 356


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model.backbone", "resnet21"], ["resnet21", "resnet20"]),
        (["--model.backbone", "torchvision.models.resnet21"], ["torchvision.models.resnet21"]),
        (["--model.backbone_args.stm", "cifar"], ["stm", "stem"]),
        (["--model.optimizer", "SDG"], ["SDG", "SGD"]),
        (["--model.scheduler", "OneCycle"], ["OneCycle", "OneCycleLR"]),
        (["--model.optimizer_args.momentm", "0.9"], ["momentm", "momentum"]),
        (["--model.optimizer_args.momentum", "-1"], ["momentum"]),
        (["--model.lr", "fast"], ["model.lr", "fast"]),
        (["--model.num_classes", "3"], ["num_classes"]),
        (["--model.backbon", "resnet20"], ["model.backbon", "backbone"]),
        (["--data", "DigitDataModule"], ["DigitDataModule", "DigitsDataModule"]),
        (["--data.batch_size", "0"], ["batch_size", "0"]),
        (["--data.batch_size", "5000"], ["batch_size", "5000", "1299"]),
        (["--data.classes", "[3, 12]"], ["12", "data.classes"]),
        (["--trainer.max_epoch", "3"], ["trainer.max_epoch", "max_epochs"]),
        (["--trainer.accelerator", "gup"], ["gup"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml"]),
        (["--ckpt_path", "nowhere.ckpt"], ["nowhere.ckpt"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_a_wrong_option_gets_one_line(arguments, words, capsys):
    line = error_line(capsys, "fit", "--config", DIGITS, *arguments)
    assert all(word in line for word in words), line


def test_a_wrong_command_gets_one_line(capsys):
    assert "fti" in error_line(capsys, "fti")


def test_without_a_config_the_error_asks_for_one(capsys):
    assert "--config digits" in error_line(capsys, "fit")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trainer: {max_epochs: 3", "not YAML (line "),
        ("\t- x: [", "not YAML"),
        ("just words", "not a mapping"),
        ("", "not a mapping"),
        ("model: {backbon: resnet20}", "did you mean 'backbone'"),
        ("data: {class_path: DigitsDataModule, init_args: {batchsize: 3}}", "did you mean 'batch_size'"),
        ("data: {class_path: DigitsModule}", "did you mean 'DigitsDataModule'"),
        ("trainer: {max_epochs: many}", "trainer.max_epochs"),
        ("trainer: {callbacks: [{class_path: EarlyStoping}]}", "did you mean 'EarlyStopping'"),
        ("trainr: {max_epochs: 3}", "did you mean 'trainer'"),
    ],
)
def test_a_wrong_config_gets_one_line(text, words, capsys):
    Path("wrong.yaml").write_text(text)
    assert words in error_line(capsys, "fit", "--config", DIGITS, "--config", "wrong.yaml")


def test_a_missing_config_names_the_nearest(capsys):
    path = str(ROOT / "configs" / "mnist_resnet81.yaml")
    assert "mnist_resnet18.yaml" in error_line(capsys, "fit", "--config", path)


@pytest.mark.parametrize("command", ["fit", "test"])
@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("model.backbone", "resnet32", "holds the backbone 'resnet20', but this run has 'resnet32'"),
        # Keys and shapes are the same; only the options differ.
        ("model.backbone_args", "{act_layer: silu}", "with act_layer None, but this run has 'silu'"),
        ("data.classes", "[0, 1]", "backbone.fc.weight (10, 64) instead of (2, 64)"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused(run_folder, capsys, command, option, value, said):
    checkpoint = str(run_folder / "checkpoints" / "best.ckpt")
    assert said in error_line(capsys, command, "--ckpt_path", checkpoint, f"--{option}", value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            "--model.optimizer AdamW --model.optimizer_args null",
            "with optimizer 'SGD', whose state 'AdamW' cannot take over",
        ),
        ("--model.scheduler ReduceLROnPlateau --model.scheduler_args null", "was trained with scheduler 'OneCycleLR'"),
        ("--model.backbone_args.frozen_stages 1", "was trained with frozen_stages None"),
        ("--data MNISTDataModule", "was trained on DigitsDataModule, but this run uses MNISTDataModule"),
        ("--data.train_fraction 0.5 --trainer.max_epochs 9", "was trained on 1299 images, but this data set has 651"),
    ],
)
def test_a_change_that_prevents_resuming_is_refused(run_folder, capsys, options, said):
    kept = (run_folder / "metrics.csv").read_bytes()
    for where in ["--ckpt_path", str(run_folder / "checkpoints" / "last.ckpt")], ["--resume", str(run_folder)]:
        assert said in error_line(capsys, "fit", *where, *options.split())
        assert (run_folder / "metrics.csv").read_bytes() == kept


def test_a_checkpoint_of_other_classes_is_refused(run_folder, capsys):
    checkpoint = str(run_folder / "checkpoints" / "best.ckpt")
    line = error_line(capsys, "test", "--ckpt_path", checkpoint, "--data.classes", "[9,8,7,6,5,4,3,2,1,0]")
    assert "trained on the classes 0, 1, 2" in line


def test_a_file_that_is_no_checkpoint_is_refused(capsys):
    Path("text.ckpt").write_text("hello")
    torch.save({"state_dict_of_something": 1}, "other.ckpt")
    assert "not a checkpoint" in error_line(capsys, "test", "--config", DIGITS, "--ckpt_path", "text.ckpt")
    assert "not the checkpoint of a run" in error_line(capsys, "test", "--config", DIGITS, "--ckpt_path", "other.ckpt")


def test_debug_shows_the_traceback():
    from resnet_lightning import InputError

    with pytest.raises(InputError, match="resnet21"):
        main(["fit", "--config", DIGITS, "--model.backbone", "resnet21", "--debug"])


def test_a_bug_keeps_its_traceback(monkeypatch):
    def broken(*args):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(ImageClassifier, "training_step", broken)
    with pytest.raises(RuntimeError, match="a bug of ours"):
        main(["fit", *SHORT])


def test_a_training_that_cannot_resume_is_refused_with_the_reason(run_folder, capsys):
    last = str(run_folder / "checkpoints" / "last.ckpt")
    adam = ["--model.optimizer", "Adam", "--model.optimizer_args", "null"]
    assert "optimizer 'SGD'" in error_line(capsys, "fit", "--ckpt_path", last, *adam)
    saved = torch.load(last, weights_only=True)
    torch.save({key: saved[key] for key in saved if key != "optimizer_states"}, "weights.ckpt")
    assert "holds only weights" in error_line(capsys, "fit", "--config", DIGITS, "--ckpt_path", "weights.ckpt")
    # The checkpoint is at step 8, and this run ends at step 4. Its folder stays.
    capsys.readouterr()
    assert main(["fit", "--ckpt_path", last, "--trainer.max_epochs", "4", "--trainer.limit_train_batches", "1"]) == 2
    assert "the checkpoint is at step 8, but this run ends at step 4" in capsys.readouterr().err


def test_a_checkpoint_of_other_classes_is_refused_whatever_the_data_module(capsys):
    write_images(Path("images/train"), ["cat", "dog"], count=8)
    write_images(Path("images/test"), ["cat", "dog"], count=2)
    data = ["--data", "ImageFolderDataModule", "--data.root", "images", "--data.batch_size", "4"]
    assert main(["fit", *SHORT, *data]) == 0
    best = str(only_run("digits") / "checkpoints" / "best.ckpt")
    other = ["--data", "CIFAR10DataModule", "--data.classes", "[ship, truck]"]
    assert "trained on the classes cat, dog" in error_line(capsys, "test", "--ckpt_path", best, *other)


def test_the_folder_to_resume_is_not_part_of_a_config(capsys):
    Path("more.yaml").write_text("resume: runs/mine")
    line = error_line(capsys, "fit", *SHORT, "--config", "more.yaml")
    assert "resume belongs on the command line, as --resume FOLDER" in line


def test_a_run_that_is_over_prints_so(run_folder, capsys):
    last = str(run_folder / "checkpoints" / "last.ckpt")
    assert main(["fit", "--ckpt_path", last]) == 0
    out = capsys.readouterr().out
    assert "nothing left to train" in out
    assert f"fit --ckpt_path {last} --trainer.max_epochs N" in out


def test_a_file_without_a_config_asks_for_one(capsys):
    torch.save({"a": 1}, "foreign.ckpt")
    assert "stores no config" in error_line(capsys, "test", "--ckpt_path", "foreign.ckpt")
