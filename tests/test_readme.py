"""What the README shows works as it stands there."""

import re
import shlex
from pathlib import Path

import pytest

from resnet_lightning.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("lightning fit --config")]


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


def test_every_file_that_it_names_is_there():
    for path in re.findall(r"\]\(([^)#:]+)\)|(configs/[\w/]+\.yaml)", README):
        assert (ROOT / (path[0] or path[1])).is_file(), path


def test_every_config_is_in_its_table():
    rows = [line for line in README.splitlines() if line.startswith("| [`")]
    assert {re.search(r"`(\w+)`", row)[1] for row in rows} == {p.stem for p in (ROOT / "configs").glob("*.yaml")}
