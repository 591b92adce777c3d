"""Commands of the program, run in the process of the test."""

from pathlib import Path

from resnet_lightning.cli.main import main


def error_line(capsys, *arguments: str) -> str:
    """The error of a command that has to fail, after making sure that it is one line and leaves nothing behind."""
    before = set(Path.cwd().rglob("*"))
    capsys.readouterr()
    assert main(list(arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert set(Path.cwd().rglob("*")) == before
    return line
