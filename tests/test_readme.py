"""What the README shows works as it stands there."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from resnet_lightning.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


CHAPTER = README.partition("\n## Your own block")[2].partition("\n## ")[0]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


OWN_FILES = {code.split()[1]: code for code in blocks("python", CHAPTER) if code.startswith("# my_")}


def commands(text: str = README) -> list[str]:
    """The commands that start a run without a checkpoint, without line breaks."""
    lines = "\n".join(blocks("sh", text)).replace("\\\n", " ").splitlines()
    return [line for line in lines if re.match(r"lightning fit --(config|data)", line)]


@pytest.fixture
def in_a_folder_with_the_parts(tmp_path, monkeypatch):
    """The test works in a folder with the files of the chapter, and what other commands name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name in "configs", "my_images":
        (tmp_path / name).symlink_to(ROOT / "configs")
    (tmp_path / "my.yaml").symlink_to(ROOT / "configs" / "digits.yaml")
    for name, code in OWN_FILES.items():
        (tmp_path / name).write_text(code)


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.splitlines()[0])
def test_python_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("command", commands())
@pytest.mark.usefixtures("in_a_folder_with_the_parts")
def test_commands_parse(command, capsys):
    arguments = shlex.split(command, comments=True)[1:]
    if "--print_schema" in arguments:  # of which the next line makes a file
        arguments = arguments[: arguments.index(">")]
    printing = {"--print_config", "--print_schema"} & set(arguments)
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, *(() if printing else ("--print_config",))])
    assert not stopped.value.code
    printed = yaml.safe_load(capsys.readouterr().out)
    if "--print_schema" not in arguments:
        named = printed["data"]["class_path"].partition(".")[0]
        assert named == ("my_data" if "my_data.Stripes" in command else "resnet_lightning")


@pytest.mark.slow
@pytest.mark.parametrize("command", commands(CHAPTER))
@pytest.mark.usefixtures("in_a_folder_with_the_parts")
def test_parts_of_ones_own_train(command, tmp_path, request):
    if "tensorboard" in command:
        pytest.importorskip("tensorboard", reason="pip install tensorboard")
    else:  # a logger takes the figures
        request.getfixturevalue("without_figures")
    short = () if "--trainer.max_epochs" in command else ("--trainer.max_epochs", "8")
    assert main([*shlex.split(command, comments=True)[1:], *short]) == 0
    (run,) = (json.loads(path.read_text()) for path in tmp_path.glob("runs/*/*/run.json"))
    assert run["state"] == "finished"
    for evaluation in tmp_path.glob("runs/*/*/evaluation.json"):
        assert json.loads(evaluation.read_text())["metrics"]["test/acc"] > 0.9
    assert "my_model" in command or list(tmp_path.glob("runs/*/*/evaluation.json"))


def test_what_each_part_takes_is_counted():
    """A file's first line, its name, and its empty lines do not count."""
    counted = {name: len([line for line in code.splitlines() if line]) - 1 for name, code in OWN_FILES.items()}
    assert dict(re.findall(r"^\|.*\| `(my_\w+\.py)`, (\d+) lines \|", CHAPTER, re.MULTILINE)) == {
        name: str(lines) for name, lines in counted.items()
    }
    options = re.findall(r"^\|.*\| `(--[^`]+?)(?: \.\.\.)?` \|$", CHAPTER, re.MULTILINE)
    assert len(options) == 10
    for option in options:
        assert any(option in command for command in commands(CHAPTER)), option


@pytest.mark.slow
@pytest.mark.usefixtures("in_a_folder_with_the_parts")
def test_a_new_project_trains_and_passes_its_tests(tmp_path):
    (lines,) = (block for block in blocks("sh", CHAPTER) if block.startswith("lightning new"))
    done = subprocess.run(["bash", "-e", "-c", lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)
    assert "failed" not in done.stdout
    (folder,) = (tmp_path / "my_project" / "runs" / "my_project").iterdir()
    assert json.loads((folder / "evaluation.json").read_text())["metrics"]["test/acc"] > 0.95
    assert {"pictures", "checkpoints"} <= {path.name for path in folder.iterdir()}


def test_the_config_that_it_explains_is_the_shipped_one():
    (explained,) = blocks("yaml")
    assert yaml.safe_load(explained) == yaml.safe_load((ROOT / "configs" / "digits.yaml").read_text())


def test_nothing_has_to_be_scrolled_sideways():
    code = [line for block in re.findall(r"```\w*\n(.*?)```", README, flags=re.DOTALL) for line in block.splitlines()]
    assert not [line for line in code if len(line) > 100]


def test_every_file_that_it_names_is_there():
    for path in re.findall(r"\]\(([^)#:]+)\)|(configs/[\w/]+\.yaml)", README):
        assert (ROOT / (path[0] or path[1])).is_file(), path


def test_every_config_is_in_its_table():
    rows = [line for line in README.splitlines() if line.startswith("| [`")]
    assert {re.search(r"`(\w+)`", row)[1] for row in rows} == {p.stem for p in (ROOT / "configs").glob("*.yaml")}
