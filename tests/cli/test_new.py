"""``lightning new``: a project with parts of its own, which trains and passes its tests as it is written."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from commands import error_line
from resnet_lightning.cli.main import main
from resnet_lightning.cli.new import TEMPLATE, template_files

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def make(*arguments: str, folder: str = "demo") -> subprocess.CompletedProcess[str]:
    command = ["make", f"PYTHON={sys.executable}", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_every_file_is_there_under_the_projects_name(capsys):
    assert main(["new", "demo"]) == 0
    assert "cd demo && make run" in capsys.readouterr().out
    written = {
        path.relative_to("demo").as_posix(): path.read_text() for path in Path("demo").rglob("*") if path.is_file()
    }
    assert written == {
        path.replace("my_project", "demo"): text.replace("my_project", "demo")
        for path, text in template_files().items()
    }
    assert {
        "pyproject.toml",
        "Makefile",
        "README.md",
        ".gitignore",
        "configs/demo.yaml",
        "demo/models.py",
        "tests/test_demo.py",
    } <= written.keys()
    assert not [path for path, text in written.items() if "my_project" in path + text]
    assert tomllib.loads(written["pyproject.toml"])["project"]["dependencies"] == ["resnet-lightning"]
    assert [path.name for path in Path().iterdir()] == ["demo"]


def test_its_folder_may_be_anywhere():
    assert main(["new", "projects/of_mine/net2"]) == 0
    assert Path("projects/of_mine/net2/net2/losses.py").is_file()


def test_every_part_is_named_in_a_config_and_in_the_readme():
    configs = [yaml.safe_load(path.read_text()) for path in (TEMPLATE / "configs").glob("*.yaml")]
    named = set(re.findall(r"my_project\.(\w+)\.\w+", str(configs)))
    parts = {path.stem for path in (TEMPLATE / "my_project").glob("*.py")} - {"__init__"}
    assert named == parts == set(re.findall(r"`my_project/(\w+)\.py`", (TEMPLATE / "README.md").read_text()))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My-Project", "'My-Project' cannot name a package; give lowercase letters, digits and _, such as my_project"),
        ("2nets", "'2nets' cannot name a package"),
        ("class", "'class' cannot name a package"),
        ("", "'.' exists; give the name of a new folder"),
        ("torch", "there is a module 'torch' already, which the project would hide"),
        ("tests", "the project has other files of the name 'tests'"),
        ("plain", "the project has other files of the name 'plain'"),
        ("taken", "'taken' exists; give the name of a new folder"),
        ("file.txt/demo", "cannot write 'file.txt/demo'"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(capsys, name, message):
    Path("taken").mkdir()
    Path("file.txt").write_text("")
    assert error_line(capsys, "new", name).startswith(f"error: {message}")


def test_a_project_that_cannot_be_written_whole_is_not_there(capsys, monkeypatch):
    """The name of one of its files is too long for the disk; that of its folder is not."""
    assert "File name too long" in error_line(capsys, "new", "n" * 250)


@pytest.mark.slow
def test_its_schema_knows_the_options_of_its_parts():
    """That it trains and passes its tests is shown with the README, whose lines are run."""
    assert main(["new", "demo"]) == 0
    make("schema")
    schema = json.loads(Path("demo/configs/schema.json").read_text())
    for path in Path("demo/configs").glob("*.yaml"):
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)
    assert {"penalty", "loss"} <= schema["definitions"]["SparseClassifier"]["properties"].keys()


@pytest.mark.slow
def test_without_the_package_make_says_what_to_do():
    assert main(["new", "demo"]) == 0
    command = ["make", "run", f"PYTHON={sys.executable} -S"]  # without installed packages
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd="demo", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "has no resnet_lightning: activate its environment, or build one with make venv" in done.stderr
    done = subprocess.run(["make", "venv"], cwd="demo", capture_output=True, text=True, check=False)
    assert "make venv PACKAGE=../resnet_lightning" in done.stderr
