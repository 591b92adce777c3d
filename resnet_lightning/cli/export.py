"""``lightning export``: writes a trained model to a file that other programs can load."""

import argparse
from pathlib import Path

from ..inference.export import FORMATS, MOST_FILES, export
from .console import console


def command(arguments: list[str]) -> None:
    """``resnet-lightning export``."""
    description = (
        "Writes a net to a file that runs without this package (torch_export, onnx), from the pixels of an image file "
        "to probabilities; or its weights alone, with a model card (safetensors)."
    )
    parser = argparse.ArgumentParser(prog="resnet-lightning export", description=description)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--format", choices=list(FORMATS), required=True)
    parser.add_argument("--output", type=Path, help="the file (default: beside the checkpoint, named after it)")
    parser.add_argument(
        "--images",
        type=Path,
        help=f"a folder with images to compare file and checkpoint by, up to {MOST_FILES} (default: digits of the "
        "package)",
    )
    options = parser.parse_args(arguments)
    exported = export(options.checkpoint, options.format, options.output, options.images)
    console().print(
        f"[dim]file      [/] {exported.path}, {exported.path.stat().st_size / 1e6:.1f} MB\n"
        f"[dim]compared  [/] {exported.images} images: probabilities differ by at most {exported.difference:.1e}",
        highlight=False,
        soft_wrap=True,
    )
    if options.format == "safetensors":
        console().print(
            f"[dim]model card[/] {exported.path.with_name('MODEL_CARD.md')}", highlight=False, soft_wrap=True
        )
