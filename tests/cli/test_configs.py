"""The configs that the package ships: used by name, listed, printed, copied, and inside the wheel."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from commands import error_line
from repository import CONFIGS, ROOT
from resnet_lightning.cli.arguments import resolve
from resnet_lightning.cli.main import main
from resnet_lightning.cli.shipped_configs import config_path, read_header, shipped_configs

NAMES = sorted(path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.yaml"))


pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "without_figures")


# By name.


def no_folder(folder):
    raise AssertionError(f"{folder} was opened")


@pytest.mark.parametrize("option", [["--config", "digits"], ["--config=digits"], ["-c", "digits"]])
def test_a_bare_name_is_the_shipped_config(option):
    path = str(CONFIGS / "digits.yaml")
    resolved = resolve(["fit", *option, "--overlay", "ema"], no_folder)
    assert path in [argument.removeprefix("--config=") for argument in resolved.arguments]
    assert str(CONFIGS / "overlays" / "ema.yaml") in resolved.arguments
    assert resolved.run_name == "digits"


def test_a_file_of_that_name_comes_first():
    Path("digits").write_text("trainer: {max_epochs: 3}\n")
    assert config_path("digits") == "digits"
    assert config_path("mnist_resnet18") == str(CONFIGS / "mnist_resnet18.yaml")
    assert config_path("speed/mnist") == str(CONFIGS / "speed" / "mnist.yaml")
    assert config_path("other/mnist") == "other/mnist"


def test_a_folder_of_that_name_is_no_config():
    Path("digits").mkdir()
    Path("photos").mkdir()
    assert config_path("digits") == str(CONFIGS / "digits.yaml")
    assert config_path("photos") == "photos"  # whose error states that it is a folder


def test_the_overlays_of_a_shipped_config_may_also_be_in_configs():
    """As they are for a checkpoint, which has no folder of configs either."""
    Path("configs/overlays").mkdir(parents=True)
    Path("configs/overlays/mine.yaml").write_text("trainer: {max_epochs: 3}\n")
    assert "configs/overlays/mine.yaml" in resolve(["fit", "-c", "digits", "--overlay", "mine"], no_folder).arguments


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digts", "there is no config 'digts'; did you mean 'digits'?"),
        ("own", "there is no config 'own'; did you mean 'own.yaml'?"),
        ("ema", "'ema' is an overlay; give a config, and --overlay ema"),
        ("digts.yaml", "there is no config 'digts.yaml'"),
    ],
)
def test_a_misspelt_name_is_corrected(capsys, name, message):
    Path("own.yaml").write_text("trainer: {max_epochs: 3}\n")
    assert error_line(capsys, "fit", "--config", name).startswith(f"error: {message}")


# Listed, printed, copied.


def test_every_config_is_listed_with_its_purpose_and_cost(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["configs"]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()[1:-1] if line.strip() and line[0] != " "] == list(
        shipped_configs()
    )
    assert sorted(shipped_configs()) == NAMES
    assert "ResNet-20 on CIFAR-10, as in He et al. 2015, section 4.2 and Table 6" in printed
    assert "20 s on 2 CPU cores" in printed


@pytest.mark.parametrize("name", NAMES)
def test_its_header_says_what_it_is_for(name):
    header = read_header((CONFIGS / f"{name}.yaml").read_text())
    assert 20 < len(header.purpose) <= 100
    assert bool(header.cost) == (not name.startswith("overlays/"))


def test_a_config_is_printed_and_copied(capsys):
    text = (CONFIGS / "digits.yaml").read_text()
    assert main(["configs", "digits"]) == 0
    assert capsys.readouterr().out == text
    assert main(["configs", "digits", "--output", "mine/first.yaml"]) == 0
    assert Path("mine/first.yaml").read_text() == text
    assert main(["configs", "ema"]) == 0
    assert main(["configs", "sweeps/digits.yaml"]) == 0
    assert capsys.readouterr().out == "".join(
        (CONFIGS / name).read_text() for name in ("overlays/ema.yaml", "sweeps/digits.yaml")
    )


def test_nothing_is_overwritten(capsys):
    Path("mine.yaml").write_text("precious")
    Path("folder").mkdir()
    line = error_line(capsys, "configs", "digits", "--output", "mine.yaml")
    assert line == "error: --output is 'mine.yaml', which exists; give the name of a new file"
    assert Path("mine.yaml").read_text() == "precious"
    assert "a folder; give the name of a file" in error_line(capsys, "configs", "digits", "--output", "folder")
    assert "cannot write 'mine.yaml/x'" in error_line(capsys, "configs", "digits", "--output", "mine.yaml/x")
    assert "did you mean 'digits'?" in error_line(capsys, "configs", "digit")
    assert "give the name of the config to copy" in error_line(capsys, "configs", "--output", "new.yaml")


def test_a_sweep_starts_runs_of_a_shipped_config():
    for name in NAMES:
        if name.startswith("sweeps/"):
            command = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["command"]
            assert command[command.index("--config") + 1] in NAMES


# Installed.


@pytest.mark.slow
def test_the_wheel_has_the_configs_and_runs_one_in_an_empty_folder(tmp_path):
    pytest.importorskip("hatchling", reason="builds the wheel: pip install -r requirements-dev.lock")
    code = f"import os; os.chdir({str(ROOT)!r}); from hatchling import build; build.build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    installed = tmp_path / "installed" / "resnet_lightning" / "configs"
    assert sorted(p.relative_to(installed).with_suffix("").as_posix() for p in installed.rglob("*.yaml")) == NAMES
    assert (installed / "schema.json").is_file()
    (tmp_path / "empty").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "resnet_lightning", "fit", "--config", "digits", "--overlay", "debug"],
        cwd=tmp_path / "empty",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "One batch was trained, validated and tested" in done.stdout
