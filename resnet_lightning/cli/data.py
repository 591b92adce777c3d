"""``lightning data``: looks at a folder of images before a training."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from ..data.inspection import ImageFacts, Inspection, inspect_folder
from ..data.loading.decode import read_image, scale_and_cut
from ..runs import figures
from ..runs.folder import local_folder
from .console import console, shown_log
from .tool_parser import ToolParser

_MOST_CLASSES = 20  # in the table and in the mosaic
_SHOWN = 5  # of a longer list
_UNEVEN = 3  # so many times more images in the largest class than in the smallest one suggest balanced sampling
_LARGEST_SIDE = 224


def command(arguments: list[str]) -> None:
    parser = ToolParser(
        prog="resnet-lightning data",
        description="Reads every image of a folder, and prints what a training would meet: the splits and classes, "
        "sizes, modes, files that cannot be read, duplicates, mean and deviation, and the lines for a config.",
    )
    parser.add_argument(
        "folder", help="a folder with a folder for each class, or with such folders in train/ and test/"
    )
    parser.add_argument(
        "--output", type=Path, help="a picture of some labelled images (default: NAME_images.png in this folder)"
    )
    options = parser.parse_args(arguments)
    root = local_folder("FOLDER", options.folder)
    out = console()
    with shown_log(out):
        found = _inspect(root, out)
    out.print(_counts_table(found), highlight=False)
    for line in (*_sizes_and_modes(found), *_unreadable(found), *_duplicates(found)):
        out.print(line, highlight=False, soft_wrap=True)
    mean, deviation = found.statistics()
    out.print(f"training images: mean {_numbers(mean)}, deviation {_numbers(deviation)}", highlight=False)
    output = options.output or Path(f"{root.absolute().name}_images.png")
    _draw_mosaic(found, output)
    out.print(f"[dim]picture[/] {escape(str(output))}", highlight=False, soft_wrap=True)
    out.print("[dim]for a config; mean and deviation are measured when it runs:[/]")
    out.print(_config(found), markup=False, highlight=False, soft_wrap=True)


def _inspect(root: Path, out: Console) -> Inspection:
    with _progress(out) as bar:
        task = bar.add_task("reading images", total=None)
        return inspect_folder(root, lambda done, total: bar.update(task, completed=done, total=total))


@contextlib.contextmanager
def _progress(out: Console) -> Iterator[Progress]:
    with Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        yield bar


def _counts_table(found: Inspection) -> Table:
    counts = found.counts()
    table = Table("class", *counts, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, show_footer=True)
    for column, split in zip(table.columns[1:], counts, strict=True):
        column.justify, column.footer = "right", f"{sum(counts[split]):,}"
    table.columns[0].footer = f"{len(found.classes)} classes"
    table.columns[0].overflow = "fold"
    order = sorted(range(len(found.classes)), key=lambda label: -counts["train"][label])
    if len(order) > _MOST_CLASSES:
        order = [*order[:_SHOWN], -1, *order[-_SHOWN:]]
    for label in order:
        cells = ["..."] * len(counts) if label < 0 else [f"{counts[split][label]:,}" for split in counts]
        table.add_row("..." if label < 0 else escape(found.classes[label]), *cells)
    return table


def _sizes_and_modes(found: Inspection) -> Iterator[str]:
    sizes = Counter(image.size for image in found.readable if image.size)
    if len(sizes) == 1:
        ((height, width),) = sizes
        yield f"sizes: all {width}x{height}"
    elif sizes:
        sides = sorted(min(size) for size in sizes.elements())
        (height, width), count = sizes.most_common(1)[0]
        shorter = f"{sides[0]} to {sides[-1]} pixels, median {sides[len(sides) // 2]}"
        yield (
            f"sizes: {len(sizes)} different ones, most often {width}x{height} ({count:,} images); "
            f"shorter side {shorter}"
        )
    modes = Counter(image.mode for image in found.readable)
    yield "modes: " + ", ".join(f"{escape(mode)} {count:,}" for mode, count in modes.most_common())


def _unreadable(found: Inspection) -> Iterator[str]:
    if bad := found.unreadable:
        yield f"[yellow]{len(bad):,} {'file' if len(bad) == 1 else 'files'} cannot be read:[/]"
        yield from (f"  {escape(image.problem)}" for image in bad[:_SHOWN])
        yield from _and_more(len(bad))


def _duplicates(found: Inspection) -> Iterator[str]:
    groups = found.duplicates()
    for what, chosen in (
        (
            "in several splits, so that a model is tested on what it has seen",
            [g for g in groups if len(_splits(g)) > 1],
        ),
        ("in several classes", [g for g in groups if len(_splits(g)) == 1 and len(_labels(g)) > 1]),
        ("more than once in a class", [g for g in groups if len(_splits(g)) == len(_labels(g)) == 1]),
    ):
        if chosen:
            images = "image is" if len(chosen) == 1 else "images are"
            yield f"[yellow]{len(chosen):,} {images} {what}:[/]"
            yield from (f"  {escape(', '.join(image.file for image in group[:4]))}" for group in chosen[:_SHOWN])
            yield from _and_more(len(chosen))


def _splits(group: Sequence[ImageFacts]) -> set[str]:
    return {image.split for image in group}


def _labels(group: Sequence[ImageFacts]) -> set[int]:
    return {image.label for image in group}


def _and_more(count: int) -> Iterator[str]:
    if count > _SHOWN:
        yield f"  and {count - _SHOWN:,} more"


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.4f}" for value in values) + "]"


def _draw_mosaic(found: Inspection, path: Path) -> None:
    """Draws up to four training images of each class, with the names of their classes above them."""
    chosen = []
    for label in range(min(len(found.classes), _MOST_CLASSES)):
        chosen += [i for i in found.readable if i.split == "train" and i.label == label][:4]
    side = 128
    pixels = []
    for image in chosen:
        read = read_image(str(found.root / image.file), 3, found.white_level)
        pixels.append(scale_and_cut(read, side, side).permute(1, 2, 0).numpy())
    captions = [found.classes[image.label] for image in chosen]
    figures.save(
        figures.images_in_a_grid(pixels, captions, title=f"Training images in {found.root.absolute().name}"), path
    )


def _config(found: Inspection) -> str:
    """Returns the part of a config that reads the folder."""
    options: dict[str, object] = {"root": str(found.root)}
    sizes = {image.size for image in found.readable if image.size}
    if len(sizes) > 1 or max(max(size) for size in sizes) > _LARGEST_SIDE:
        middle = sorted(min(size) for size in sizes)[len(sizes) // 2]
        options["image_size"] = min(max(middle // 32 * 32, 32), _LARGEST_SIDE)
    if found.unreadable:
        options["on_error"] = "skip"
    counts = [count for count in found.counts()["train"] if count]
    if max(counts) >= _UNEVEN * min(counts):
        options["sampling"] = "balanced"
    config = {"data": {"class_path": "ImageFolderDataModule", "init_args": options}}
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True).rstrip()
