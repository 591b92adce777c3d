"""``lightning export``: writes a trained model to a file that other programs can load."""

from pathlib import Path

from rich.markup import escape

from ..inference.export import FORMATS, MOST_FILES, export
from .console import console
from .tool_parser import ToolParser
from .trust_option import add_trust_option


def command(arguments: list[str]) -> None:
    description = (
        "Writes a model to a file that runs without this package (torch_export, onnx) and maps the pixels of an image "
        "to probabilities; or only its weights, with a model card (safetensors)."
    )
    parser = ToolParser(prog="resnet-lightning export", description=description)
    parser.add_argument("checkpoint", type=Path)
    add_trust_option(parser)
    parser.add_argument("--format", choices=list(FORMATS), required=True)
    parser.add_argument("--output", type=Path, help="file to write (default: next to the checkpoint, with its name)")
    parser.add_argument(
        "--images",
        type=Path,
        help=f"folder with images on which to compare the file and the checkpoint; at most {MOST_FILES} are used "
        "(default: digits that come with the package)",
    )
    options = parser.parse_args(arguments)
    exported = export(options.checkpoint, options.format, options.output, options.images, options.trust)
    console().print(
        f"[dim]file      [/] {escape(str(exported.path))}, {exported.path.stat().st_size / 1e6:.1f} MB\n"
        f"[dim]compared  [/] {exported.images} images: probabilities differ by at most {exported.difference:.1e}",
        highlight=False,
        soft_wrap=True,
    )
    if options.format == "safetensors":
        card = escape(str(exported.path.with_name("MODEL_CARD.md")))
        console().print(f"[dim]model card[/] {card}", highlight=False, soft_wrap=True)
