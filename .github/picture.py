"""Makes the README's picture, a real run in a terminal: ``.venv/bin/python .github/picture.py``."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 116


def record(command: list[str]) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        output = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # the terminal closes with its last process
                break
            if not chunk:
                break
            output += chunk
    if process.returncode:
        sys.exit(f"{command} ended with {process.returncode}:\n{output.decode()}")
    return output.decode()


def screen(written: str) -> str:
    """What is left on the screen when every redrawn line has been redrawn."""
    lines = [re.split(r"\r(?!$)", line.rstrip("\r"))[-1] for line in written.split("\n")]
    return re.sub(r"\x1b\[(\?25[lh]|2K|\d*A)", "", "\n".join(lines))


if __name__ == "__main__":
    arguments = ["fit", "--config", "configs/digits.yaml", *sys.argv[1:]]
    # Through `env`, which finds the program by the path that it is given.
    shown = screen(record(["env", "lightning", *arguments]))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(f"[bold]$ lightning {' '.join(arguments)}[/]", highlight=False)
    console.print(Text.from_ansi(shown.strip()))
    console.save_svg(str(Path(__file__).with_name("run.svg")), title="resnet_lightning")
