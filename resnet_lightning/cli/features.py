"""``lightning features``: figures of what a model has learned."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape

from ..inference.grad_cam import first_filters
from ..inference.loaded import load_model
from ..runs import figures
from ..training.callbacks import Embedding
from .console import console
from .main import main
from .tool_parser import ToolParser
from .trust_option import add_trust_option


def command(arguments: list[str]) -> None:
    description = "Draws the filters of a model's first layer, and its features of the test images in two dimensions."
    parser = ToolParser(
        prog="resnet-lightning features",
        description=description,
        epilog="All other options are those of `lightning test`, such as --data.root.",
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", type=Path)
    add_trust_option(parser)
    parser.add_argument("--output", type=Path, help="folder for the figures (default: `pictures` in the run's folder)")
    options, test_options = parser.parse_known_args(arguments)
    folder = options.output or options.checkpoint.resolve().parent.parent / "pictures"
    weights = first_filters(load_model(options.checkpoint, options.trust).classifier)
    filters = figures.images_in_a_grid(weights, title=_title(weights), side=64)
    embedding = folder / "embedding.png"
    callback = f"{Embedding.__module__}.{Embedding.__name__}"
    callback_options = [f"--trainer.callbacks+={callback}", f"--trainer.callbacks.path={embedding}"]
    trust_options = ["--trust", ",".join(options.trust)] if options.trust else []
    test_options = [*trust_options, *test_options, *callback_options]
    if code := main(["test", "--ckpt_path", str(options.checkpoint), *test_options]):
        raise SystemExit(code)  # `test` has printed the error
    saved = figures.save(filters, folder / "filters.png")
    for name, path in {"filters  ": saved, "embedding": embedding}.items():
        console().print(f"[dim]{name}[/] {escape(str(path))}", highlight=False, soft_wrap=True)


def _title(filters: NDArray[np.uint8]) -> str:
    count, height, width, channels = filters.shape
    return f"The first convolution: {count} filters {height}x{width}{', in color' if channels == 3 else ''}"
