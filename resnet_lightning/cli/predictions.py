"""The images and the file of ``lightning predict``, and the summary that it prints of its CSV file."""

import csv
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from ..errors import InputError

_SHOWN_LABELS = 10
_SHOWN_IMAGES = 3


def with_checkpoint_option(arguments: Sequence[str]) -> list[str]:
    """Returns the command line with ``--ckpt_path`` before a checkpoint that is given first, as other commands have it.

    ``predict best.ckpt photos`` becomes ``predict --ckpt_path best.ckpt photos``.
    """
    if len(arguments) > 1 and arguments[0] == "predict" and arguments[1].endswith(".ckpt"):
        return [arguments[0], "--ckpt_path", *arguments[1:]]
    return list(arguments)


def take_images(options: Namespace, is_typed: bool) -> None:
    """Moves the images that a command line names into the options of its data module.

    Args:
        options: the options of ``predict``, which are changed.
        is_typed: whether the command line has ``--data.predict_folder`` too.

    Raises:
        InputError: if images are named twice, or if the data module takes none.
    """
    if not options.images:
        return
    if is_typed:
        raise InputError(f"give the images once: {options.images[0]!r} or --data.predict_folder")
    data = options.data.get("init_args") if options.data is not None else None
    if data is None or "predict_folder" not in data:
        name = options.data.class_path.rpartition(".")[2] if options.data is not None else "a model without data"
        raise InputError(f"cannot label {options.images[0]!r}: {name} takes no predict_folder; leave the images out")
    data["predict_folder"] = list(options.images)


def output_file(output: str | None, is_trial: bool) -> Path | None:
    """Returns the file that ``--output`` names; None without the option.

    Args:
        output: a CSV file, or a folder in which the file is to be ``predictions.csv``.
        is_trial: whether this run writes nothing.

    Raises:
        InputError: if it is no such file, or if it cannot be written.
    """
    if output is None:
        return None
    if is_trial:
        raise InputError("--output needs predictions of all images; leave out trainer.fast_dev_run")
    path = Path(output).expanduser()
    if output.endswith(os.sep) or path.is_dir():
        path /= "predictions.csv"
    if path.suffix.lower() != ".csv" or path.is_dir():
        raise InputError(f"--output is {output!r}; give a file whose name ends in .csv, or a folder that exists")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"--output is {output!r}, but nothing can be written into {str(above)!r}; give another place")
    return path


def summary_of_predictions(file: Path) -> dict[str, str]:
    """Returns the images by label, the least sure images, the unreadable files, and the path of the CSV file.

    A file without labels gives only its path.
    """
    rows: dict[str, str] = {}
    # As written: the names of files need not be Unicode.
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as opened:
        lines = csv.reader(opened)
        header = next(lines, [])
        if header[1:3] == ["label", "probability"]:
            rows = _summary_of_labels([(line[0], line[1], line[2]) for line in lines])
        elif header[1:2] == ["labels"]:
            rows = _summary_of_label_sets([(line[0], line[1], line[2]) for line in lines])
    return {name: text for name, text in rows.items() if text} | {"predictions": str(file)}


def _summary_of_labels(found: list[tuple[str, str, str]]) -> dict[str, str]:
    """Returns the rows for lines of name, label and probability."""
    read = [(float(probability), name, label) for name, label, probability in found if probability]
    least = sorted(read)[:_SHOWN_IMAGES]
    return {
        "images": f"{len(read):,}",
        "unreadable": _unreadable(found),
        "labels": _counts(Counter(label for _, _, label in read)),
        "least sure": "\n".join(f"{shlex.quote(name)}: {label} {p:.1%}" for p, name, label in least),
    }


def _summary_of_label_sets(found: list[tuple[str, str, str]]) -> dict[str, str]:
    """Returns the rows for lines of name, labels between semicolons, and the probability of the first class."""
    read = [labels for _, labels, probability in found if probability]
    none = f"{read.count(''):,} images" if "" in read else ""
    return {
        "images": f"{len(read):,}",
        "unreadable": _unreadable(found),
        "labels": _counts(Counter(label for labels in read if labels for label in labels.split(";"))),
        "without a label": none,
    }


def _unreadable(found: list[tuple[str, str, str]]) -> str:
    """Returns the number of files that have no probability, and some of their names."""
    names = [shlex.quote(name) for name, _, probability in found if not probability]
    more = f" and {len(names) - _SHOWN_IMAGES:,} more" if len(names) > _SHOWN_IMAGES else ""
    return f"{len(names):,}, without a label in the file: {', '.join(names[:_SHOWN_IMAGES])}{more}" if names else ""


def _counts(counts: Counter[str]) -> str:
    """Returns the most frequent labels and their numbers of images."""
    shown = counts.most_common(_SHOWN_LABELS)
    others = len(counts) - len(shown)
    text = ", ".join(f"{label} {count:,}" for label, count in shown)
    return f"{text}, and {others:,} other labels" if others > 0 else text
