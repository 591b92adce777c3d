"""What the README shows works as it stands there."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from resnet_lightning.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("lightning fit --config")]


def the_line(start: str) -> str:
    """The only command that begins so, without its line breaks."""
    (line,) = (line for line in "\n".join(blocks("sh")).replace("\\\n", " ").splitlines() if line.startswith(start))
    return line


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.splitlines()[0])
def test_python_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("command", commands())
def test_commands_parse(command, tmp_path, monkeypatch, capsys):
    for name in "configs", "my_images":
        (tmp_path / name).symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command, comments=True)[1:]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, *(() if "--print_config" in arguments else ("--print_config",))])
    assert not stopped.value.code
    assert "class_path: resnet_lightning." in capsys.readouterr().out


def test_a_block_and_a_data_set_of_ones_own_train(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (parts,) = (code for code in blocks("python") if code.startswith("# my_parts.py"))
    (tmp_path / "my_parts.py").write_text(parts)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    path, program, *arguments = shlex.split(the_line("PYTHONPATH=. lightning"))
    assert (path, program) == ("PYTHONPATH=.", "lightning")
    assert main(arguments) == 0
    (evaluation,) = tmp_path.glob("runs/digits/*/evaluation.json")
    assert json.loads(evaluation.read_text())["metrics"]["test/acc"] > 0.9


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
