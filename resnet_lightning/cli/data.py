"""``lightning data``: looks at the images of a folder or table before a training."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from ..data.datasets.folder_layout import FolderLayout
from ..data.datasets.folder_lists import FolderLists
from ..data.datasets.image_folder import Layout
from ..data.datasets.image_table import ImageTable
from ..data.inspection import ImageFacts, Inspection, inspect_layout
from ..data.loading.decode import read_image, scale_and_cut
from ..errors import InputError
from ..runs import figures
from ..runs.folder import local_folder
from .console import console, shown_log
from .tool_parser import ToolParser

_MOST_CLASSES = 20  # in the table and in the mosaic
_SHOWN = 5  # of a longer list
_UNEVEN = 3  # so many times more images in the largest class than in the smallest one suggest balanced sampling
_LARGEST_SIDE = 224
_TABLES = (".csv", ".tsv", ".txt", ".parquet", ".pq")
_COLUMNS = {
    "file_column": "the column of the paths (default: file)",
    "label_column": "the column of the classes (default: label)",
    "label_separator": "what separates several labels in that column, such as ';'",
    "label_columns": "several labels as columns of 0 and 1: their names, separated by commas",
    "split_column": "the column of the splits",
    "group_column": "the column that states which images belong together",
}
_FILES = {
    "group_file": "file and group, the images that belong together",
    "split_file": "file and split, which is train, val or test",
}


def command(arguments: list[str]) -> None:
    parser = ToolParser(
        prog="resnet-lightning data",
        description="Reads every image of a folder or table, and prints what a training would meet: the splits and "
        "classes, sizes, modes, files that cannot be read, duplicates, mean and deviation, and the lines for a config.",
    )
    parser.add_argument(
        "folder",
        help="a folder with a folder for each class, or with such folders in train/ and test/; or a CSV or Parquet "
        "table",
    )
    parser.add_argument("--root", help="of a table: the folder that paths are relative to (default: that of the table)")
    for name, what in _COLUMNS.items():
        parser.add_argument(f"--{name}", help=f"of a table: {what}")
    for name, what in _FILES.items():
        parser.add_argument(f"--{name}", type=Path, help=f"of a folder: a CSV or Parquet file with the columns {what}")
    parser.add_argument(
        "--output", type=Path, help="a picture of some labelled images (default: NAME_images.png in this folder)"
    )
    options = parser.parse_args(arguments)
    table = _table(options)
    root = local_folder("FOLDER", options.folder) if table is None else table.root
    out = console()
    with shown_log(out):
        found = _inspect(_folders(root, options) if table is None else table, root, out)
    out.print(_counts_table(found), highlight=False)
    if _has_several_labels(found):
        none = sum(not image.labels for image in found.images)
        out.print(f"labels of {len(found.images):,} images, of which {none:,} have none", highlight=False)
    for line in (*_sizes_and_modes(found), *_unreadable(found), *_duplicates(found)):
        out.print(line, highlight=False, soft_wrap=True)
    if not any(image.split == "train" for image in found.readable):
        raise InputError(f"no training image in {str(root)!r} can be read; replace the files that are named above")
    for line in _without_images(found):
        out.print(line, highlight=False, soft_wrap=True)
    mean, deviation = found.statistics()
    out.print(f"training images: mean {_numbers(mean)}, deviation {_numbers(deviation)}", highlight=False)
    if found.groups is not None:
        out.print(f"groups: {found.groups:,}, none of them in several splits", highlight=False)
    name = root.absolute().name if table is None else table.path.stem
    output = options.output or Path(f"{name}_images.png")
    _draw_mosaic(found, output)
    out.print(f"[dim]picture[/] {escape(str(output))}", highlight=False, soft_wrap=True)
    out.print("[dim]for a config; mean and deviation are measured when it runs:[/]")
    out.print(_config(found, options), markup=False, highlight=False, soft_wrap=True)


def _table(options: Any) -> ImageTable | None:
    """Returns the table that was named; None for a folder."""
    given = {name: value for name in _COLUMNS if (value := getattr(options, name)) is not None}
    path = Path(options.folder).expanduser()
    if path.suffix.lower() not in _TABLES or path.is_dir():
        if name := next(iter(["root"] if options.root else given), None):
            raise InputError(
                f"--{name} belongs to a table, but {options.folder!r} is none (its name ends in {', '.join(_TABLES)})"
            )
        return None
    for name in _FILES:
        if getattr(options, name) is not None:
            raise InputError(f"--{name} belongs to a folder; give a column of {options.folder!r} instead")
    if "label_columns" in given:
        given["label_columns"] = [name.strip() for name in given["label_columns"].split(",")]
    root = path.parent if options.root is None else local_folder("--root", options.root)
    return ImageTable(path, root, **given)


def _folders(root: Path, options: Any) -> Layout:
    folders = FolderLayout(root)
    if options.group_file is None and options.split_file is None:
        return folders
    return FolderLists(folders, options.group_file, options.split_file)


def _inspect(layout: Layout, root: Path, out: Console) -> Inspection:
    with _progress(out) as bar:
        task = bar.add_task("reading images", total=None)
        return inspect_layout(layout, root, lambda done, total: bar.update(task, completed=done, total=total))


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


def _without_images(found: Inspection) -> Iterator[str]:
    """Names the classes of which there is nothing to test on, or nothing that can be read to train on."""
    if "test" not in found.splits:
        yield "[yellow]there is no test image[/]: a class of class folders has one for every five images"
    for split in found.splits:
        counted = {label for image in found.readable if image.split == split for label in image.labels}
        if lacking := [name for label, name in enumerate(found.classes) if label not in counted]:
            more = f" and {len(lacking) - _SHOWN:,} more" if len(lacking) > _SHOWN else ""
            names = escape(", ".join(lacking[:_SHOWN]))
            yield f"[yellow]no {split} image that can be read[/] has the class {names}{more}"


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


def _labels(group: Sequence[ImageFacts]) -> set[tuple[int, ...]]:
    return {image.labels for image in group}


def _and_more(count: int) -> Iterator[str]:
    if count > _SHOWN:
        yield f"  and {count - _SHOWN:,} more"


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.4f}" for value in values) + "]"


def _draw_mosaic(found: Inspection, path: Path) -> None:
    """Draws up to eight training images of each class in a row; with several labels, four with their labels below."""
    several = _has_several_labels(found)
    chosen: list[ImageFacts] = []
    rows: dict[str, list[NDArray[np.uint8] | None]] = {}
    for label, name in enumerate(found.classes[:_MOST_CLASSES]):
        of_class = [i for i in found.readable if i.split == "train" and label in i.labels and i not in chosen]
        of_class = of_class[: 4 if several else 8]
        rows[name] = [_pixels(found, image) for image in of_class]
        chosen += of_class
    columns = 8 if several else max(map(len, rows.values()), default=1)
    more = f", {len(rows)} of {len(found.classes)} classes" if len(rows) < len(found.classes) else ""
    title = f"Training images in {found.root.absolute().name}{more}"
    if several:
        captions = [", ".join(found.classes[label] for label in image.labels) for image in chosen]
        grid = figures.images_in_a_grid(chain(*rows.values()), captions, columns=columns, title=title)
    else:
        cells = [cell for row in rows.values() for cell in [*row, *[None] * (columns - len(row))]]
        grid = figures.images_in_a_grid(cells, columns=columns, title=title, row_names=list(rows))
    figures.save(grid, path)


def _pixels(found: Inspection, image: ImageFacts) -> NDArray[np.uint8]:
    pixels = read_image(str(found.root / image.file), 3, found.white_level)
    return scale_and_cut(pixels, 128, 128).permute(1, 2, 0).numpy()


def _has_several_labels(found: Inspection) -> bool:
    return any(len(image.labels) != 1 for image in found.images)


def _config(found: Inspection, given: Any) -> str:
    """Returns the part of a config that reads the folder or table."""
    is_table = Path(given.folder).suffix.lower() in _TABLES
    options: dict[str, object] = {"table": given.folder} if is_table else {}
    options["root"] = str(found.root)
    options |= {name: str(value) for name in _FILES if (value := getattr(given, name)) is not None}
    for name in _COLUMNS:
        if (value := getattr(given, name)) is not None:
            options[name] = [part.strip() for part in value.split(",")] if name == "label_columns" else value
    sizes = {image.size for image in found.readable if image.size}
    if len(sizes) > 1 or max(max(size) for size in sizes) > _LARGEST_SIDE:
        middle = sorted(min(size) for size in sizes)[len(sizes) // 2]
        options["image_size"] = min(max(middle // 32 * 32, 32), _LARGEST_SIDE)
    if found.unreadable:
        options["on_error"] = "skip"
    counts = [count for count in found.counts()["train"] if count]
    if max(counts) >= _UNEVEN * min(counts) and not _has_several_labels(found):
        options["sampling"] = "balanced"
    config = {"data": {"class_path": "TableDataModule" if is_table else "ImageFolderDataModule", "init_args": options}}
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True).rstrip()
