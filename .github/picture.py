"""Makes the README's images from real runs: ``.venv/bin/python .github/picture.py``.

``run.svg`` shows a run in a terminal, and ``report.png`` the report of three runs in a browser. The browser is the
system's chromium, or else that of ``playwright install chromium``.
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
    """Runs a command in a terminal and returns its output."""
    controller, terminal = pty.openpty()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment) as process:
        os.close(terminal)
        output = b""
        while True:
            try:
                chunk = os.read(controller, 65536)
            except OSError:  # the last process has closed the terminal
                break
            if not chunk:
                break
            output += chunk
    if process.returncode:
        sys.exit(f"{command} exited with code {process.returncode}:\n{output.decode()}")
    return output.decode()


def final_screen(output: str) -> str:
    """Returns what the screen shows at the end of an output that overwrites lines."""
    lines = [re.split(r"\r(?!$)", line.rstrip("\r"))[-1] for line in output.split("\n")]
    return re.sub(r"\x1b\[(\?25[lh]|2K|\d*A)", "", "\n".join(lines))


def save_run(file: Path) -> None:
    """Saves the terminal output of a run as an SVG image."""
    arguments = ["fit", "--config", "configs/digits.yaml"]
    # `env` finds the program in the PATH of its environment.
    shown = final_screen(record(["env", "lightning", *arguments]))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(f"[bold]$ lightning {' '.join(arguments)}[/]", highlight=False)
    console.print(Text.from_ansi(shown.strip()))
    console.print()  # the picture cuts the lower edge of its last line, such as underscores
    console.save_svg(str(file), title="resnet_lightning")


def save_report(file: Path) -> None:
    """Saves a screenshot of the report of three short runs."""
    with tempfile.TemporaryDirectory() as folder:
        for changes in [], ["--seed_everything=1"], ["--model.lr=0.02"]:
            options = ["--trainer.max_epochs=12", f"--trainer.default_root_dir={folder}", *changes]
            record(["env", "lightning", "fit", "--config", "configs/digits.yaml", *options])
        page = f"{folder}/report.html"
        record(["env", "lightning", "report", folder, "--output", page])
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 1200, "height": 1500}, color_scheme="light")
            tab.goto(f"file://{page}")
            tab.screenshot(path=str(file))
            browser.close()


if __name__ == "__main__":
    save_run(Path(__file__).with_name("run.svg"))
    save_report(Path(__file__).with_name("report.png"))
