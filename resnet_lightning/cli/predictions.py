"""The summary that ``lightning predict`` prints of its CSV file."""

import csv
import shlex
from collections import Counter
from pathlib import Path

_SHOWN_LABELS = 10
_SHOWN_IMAGES = 3


def summary_of_predictions(file: Path) -> dict[str, str]:
    """Returns the images by label, the least sure images, the unreadable files, and the path of the CSV file.

    A file of another form than one label for each image, such as one of several labels, gives only its path.
    """
    rows: dict[str, str] = {}
    # As written: the names of files need not be Unicode.
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as opened:
        lines = csv.reader(opened)
        if next(lines, [])[1:3] == ["label", "probability"]:
            found = [(line[0], line[1], line[2]) for line in lines]
            read = [(float(probability), name, label) for name, label, probability in found if probability]
            rows["images"] = f"{len(read):,}"
            if unreadable := len(found) - len(read):
                rows["unreadable"] = f"{unreadable:,}, without a label in the file"
            rows["labels"] = _counts(Counter(label for _, _, label in read))
            least = sorted(read)[:_SHOWN_IMAGES]
            rows["least sure"] = "\n".join(f"{shlex.quote(name)}: {label} {p:.1%}" for p, name, label in least)
    return {name: text for name, text in rows.items() if text} | {"predictions": str(file)}


def _counts(counts: Counter[str]) -> str:
    """Returns the most frequent labels and their numbers of images."""
    shown = counts.most_common(_SHOWN_LABELS)
    others = len(counts) - len(shown)
    text = ", ".join(f"{label} {count:,}" for label, count in shown)
    return f"{text}, and {others:,} other labels" if others > 0 else text
