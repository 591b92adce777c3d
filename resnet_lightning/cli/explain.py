"""``lightning explain``: predicts the classes of images and shows the evidence in each image (Grad-CAM)."""

from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from ..data.loading.files import list_images
from ..errors import InputError
from ..inference.grad_cam import explain, save_overlays
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
    images = [image for path in options.images for image in _readable_images(trained, path)]
    if not images:
        raise InputError(f"no image in {', '.join(repr(str(path)) for path in options.images)} can be read")
    explanations = explain(trained, images)
    folder = options.output or options.checkpoint.resolve().parent.parent / "explanations"
    table = Table("image", "label", "probability", "next", "overlay", box=box.SIMPLE)
    for column in table.columns:
        column.overflow = "fold"
    old = set(folder.glob("*_gradcam*.png"))
    overlays = save_overlays(explanations, images, folder)
    for image, explanation, overlay in zip(images, explanations, overlays, strict=True):
        ranked = explanation.probabilities.topk(min(3, len(trained.data.class_names)))
        names = [trained.data.class_names[label] for label in ranked.indices]
        first, *others = (f"{p:.1%}" for p in ranked.values)
        following = ", ".join(f"{name} {p}" for name, p in zip(names[1:], others, strict=True))
        table.add_row(*map(escape, (str(image), names[0], first, following, str(overlay))))
    console().print(table)
    if replaced := len(old.intersection(overlays)):
        console().print(f"{replaced:,} of these overlays replaced an older file", highlight=False)


def _readable_images(trained: LoadedModel, path: Path) -> list[Path]:
    """Returns a file itself, or the images in a folder without those that cannot be read, and prints their number."""
    if not path.is_dir():
        return [path]
    readable, problems = [], []
    for image in map(Path, list_images(path)):
        try:
            trained.read([image])
        except InputError as problem:
            problems.append(str(problem))
        else:
            readable.append(image)
    if problems:
        images = "1 image" if len(problems) == 1 else f"{len(problems):,} images"
        text = f"{images} in {str(path)!r} could not be read and left out; the first: {problems[0]}"
        console().print(escape(text), highlight=False)
    return readable
