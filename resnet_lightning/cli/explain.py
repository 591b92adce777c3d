"""``lightning explain``: predicts the classes of images and shows the evidence in each image (Grad-CAM)."""

from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from ..data.loading.files import list_images
from ..errors import InputError
from ..inference.grad_cam import explain_pixels, save_overlay
from ..inference.loaded import LoadedModel, load_model
from .console import console
from .tool_parser import ToolParser
from .trust_option import add_trust_option


def command(arguments: list[str]) -> None:
    description = "Predicts the classes of images, and overlays each image with the evidence for its class (Grad-CAM)."
    parser = ToolParser(prog="resnet-lightning explain", description=description)
    parser.add_argument("checkpoint", type=Path)
    add_trust_option(parser)
    parser.add_argument("images", type=Path, nargs="+", help="image files, or folders with images")
    parser.add_argument(
        "--output", type=Path, help="folder for the overlays (default: `explanations` in the run's folder)"
    )
    options = parser.parse_args(arguments)
    trained = load_model(options.checkpoint, options.trust)
    if missing := [path for path in options.images if not path.exists()]:
        raise InputError(f"there is no image {str(missing[0])!r}")
    # Before anything is written: a file that is named must be readable.
    named = {path: trained.read([path])[0] for path in options.images if not path.is_dir()}
    folder = options.output or options.checkpoint.resolve().parent.parent / "explanations"
    table = Table("image", "label", "probability", "next", "overlay", box=box.SIMPLE)
    for column in table.columns:
        column.overflow = "fold"
    old = set(folder.glob("*_gradcam*.png"))
    overlays: dict[Path, None] = {}
    for place in options.images:
        found = [(place, named[place])] if place in named else _readable_images(trained, place)
        for image, pixels in found:
            explanation = explain_pixels(trained, pixels)
            overlay = save_overlay(explanation, image, folder, overlays)
            overlays[overlay] = None
            ranked = explanation.probabilities.topk(min(3, len(trained.data.class_names)))
            names = [trained.data.class_names[label] for label in ranked.indices]
            first, *others = (f"{p:.1%}" for p in ranked.values)
            following = ", ".join(f"{name} {p}" for name, p in zip(names[1:], others, strict=True))
            table.add_row(*map(escape, (str(image), names[0], first, following, str(overlay))))
    if not overlays:
        raise InputError(f"no image in {', '.join(repr(str(path)) for path in options.images)} can be read")
    console().print(table)
    if replaced := len(old.intersection(overlays)):
        console().print(f"{replaced:,} of these overlays replaced an older file", highlight=False)


def _readable_images(trained: LoadedModel, folder: Path) -> Iterator[tuple[Path, Tensor]]:
    """Yields the images in a folder that can be read, with their pixels, and prints the number of the others."""
    problems = []
    for image in map(Path, list_images(folder)):
        try:
            (pixels,) = trained.read([image])
        except InputError as problem:
            problems.append(str(problem))
        else:
            yield image, pixels
    if problems:
        images = "1 image" if len(problems) == 1 else f"{len(problems):,} images"
        text = f"{images} in {str(folder)!r} could not be read and left out; the first: {problems[0]}"
        console().print(escape(text), highlight=False)
