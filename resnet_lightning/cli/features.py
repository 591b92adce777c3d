"""``lightning features``: what a model has learnt, drawn."""

import argparse
from pathlib import Path

from ..inference.grad_cam import first_filters
from ..inference.loaded import load_model
from ..runs import figures
from ..training.callbacks import Embedding
from .console import console
from .main import main


def command(arguments: list[str]) -> None:
    description = "Draws what a net has learnt: the filters of its first layer, and where it puts the test images."
    parser = argparse.ArgumentParser(
        prog="resnet-lightning features",
        description=description,
        epilog="All other options are those of `lightning test`, such as --data.root.",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--output", type=Path, help="a folder for the pictures (default: in that of the run)")
    options, of_test = parser.parse_known_args(arguments)
    folder = options.output or options.checkpoint.resolve().parent.parent / "pictures"
    weights = first_filters(load_model(options.checkpoint).classifier)
    embedding = folder / "embedding.png"
    callback = f"{Embedding.__module__}.{Embedding.__name__}"
    own = [f"--trainer.callbacks+={callback}", f"--trainer.callbacks.path={embedding}"]
    if code := main(["test", "--ckpt_path", str(options.checkpoint), *of_test, *own]):
        raise SystemExit(code)  # which it has said why
    filters = figures.save_mosaic(weights, folder / "filters.png")
    console().print(f"[dim]filters  [/] {filters}\n[dim]embedding[/] {embedding}", highlight=False, soft_wrap=True)
