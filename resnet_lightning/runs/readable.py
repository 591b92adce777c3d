"""Reads the files of a run that may be damaged, replaced or hostile: one bad file hides no other run."""

import csv
import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

DEPTH = 100
"""How many mappings and lists may be nested; no config and no file of a run comes near it."""

# More than any file of a run has.
_PARTS = 1_000_000
_BYTES = 512 * 1024 * 1024

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The loader of YAML; libyaml is ten times as fast as Python."""

UNREADABLE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(RecursionError, csv.Error, yaml.YAMLError),
)
"""The exceptions of a file that cannot be read or parsed."""


def read_text(file: Path) -> str:
    """Returns the text of a file in UTF-8.

    Raises:
        OSError: if it cannot be read, or if it is no file: to read a named pipe would wait for a writer.
        ValueError: if it is not UTF-8, or far larger than any file of a run.
    """
    number = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    with open(number, encoding="utf-8") as opened:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{str(file)!r} is no file")
        if status.st_size > _BYTES:
            raise ValueError(f"{str(file)!r} has {status.st_size:,} bytes")
        return opened.read()


def is_too_deep(text: str) -> bool:
    """Whether a text in YAML is nested deeper than ``DEPTH``. Parsing it could overflow the stack, also that of C.

    Raises:
        yaml.YAMLError: if it is not YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH:
            return True
    return False


def parse_yaml(text: str) -> Any:
    """Returns the content of a text in YAML.

    Raises:
        ValueError: if it is nested deeper, or is larger once its references are followed, than any config.
        yaml.YAMLError: if it is not YAML.
    """
    if is_too_deep(text):
        raise ValueError("too deep")
    content = yaml.load(text, Loader=LOADER)
    _check_extent(content)
    return content


def parse_json(text: str) -> Any:
    """Returns the content of a text in JSON.

    Raises:
        ValueError: if it is not JSON, or is nested deeper than any file of a run.
        RecursionError: if it is nested very deeply.
    """
    content = json.loads(text)
    _check_extent(content)
    return content


def read_record(folder: Path) -> dict[str, Any]:
    """Returns the content of a run's ``run.json``; empty if it is missing or damaged."""
    try:
        record = parse_json(read_text(folder / "run.json"))
    except UNREADABLE:
        return {}
    return record if isinstance(record, dict) else {}


def _check_extent(content: Any) -> None:
    """Checks depth and size, counting what is referred to twice twice. A cycle is infinitely deep."""
    parts = 0
    level = [content]
    for _ in range(DEPTH + 1):
        level = [
            part
            for whole in level
            if isinstance(whole, dict | list)
            for part in (whole.values() if isinstance(whole, dict) else whole)
        ]
        parts += len(level)
        if parts > _PARTS:
            raise ValueError("too large")
        if not level:
            return
    raise ValueError("too deep")
