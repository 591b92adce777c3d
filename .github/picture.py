"""Makes the README's pictures, of real runs: ``.venv/bin/python .github/picture.py``.

A run in a terminal, and in a browser (``playwright install chromium``, or the system's chromium) the report on three.
"""

import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
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


def picture_of_a_run(file: Path) -> None:
    arguments = ["fit", "--config", "configs/digits.yaml"]
    # Through `env`, which finds the program by the path that it is given.
    shown = screen(record(["env", "lightning", *arguments]))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(f"[bold]$ lightning {' '.join(arguments)}[/]", highlight=False)
    console.print(Text.from_ansi(shown.strip()))
    console.save_svg(str(file), title="resnet_lightning")


def picture_of_a_report(file: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for options in [], ["--seed_everything=1"], ["--model.lr=0.02"]:
            own = ["--trainer.max_epochs=12", f"--trainer.default_root_dir={folder}", *options]
            record(["env", "lightning", "fit", "--config", "configs/digits.yaml", *own])
        page = f"{folder}/report.html"
        record(["env", "lightning", "report", folder, "--output", page])
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 1200, "height": 1500}, color_scheme="light")
            tab.goto(f"file://{page}")
            tab.screenshot(path=str(file))
            browser.close()


if __name__ == "__main__":
    picture_of_a_run(Path(__file__).with_name("run.svg"))
    picture_of_a_report(Path(__file__).with_name("report.png"))
