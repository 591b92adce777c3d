"""``lightning pull``: downloads a trained model from the Hugging Face Hub."""

import shlex
from pathlib import Path

from rich.markup import escape

from ..inference.hub import pull
from .console import console
from .tool_parser import ToolParser


def command(arguments: list[str]) -> None:
    description = "Downloads a model that `lightning push` has uploaded to the Hugging Face Hub. No file runs code."
    parser = ToolParser(prog="resnet-lightning pull", description=description)
    parser.add_argument("repository", help="user/name, or user/name@revision")
    parser.add_argument("--output", type=Path, help="a new folder for the files (default: the name of the repository)")
    options = parser.parse_args(arguments)
    checkpoint = pull(options.repository, options.output)
    quoted = escape(shlex.quote(str(checkpoint)))
    console().print(
        f"[dim]pulled[/]             {quoted}, with README.md, config.json and model.safetensors\n"
        f"[dim]label your images[/]  lightning predict {quoted} FOLDER",
        highlight=False,
        soft_wrap=True,
    )
