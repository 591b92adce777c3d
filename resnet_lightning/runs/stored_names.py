"""Checks the names of classes and functions anywhere in the options that a checkpoint stores."""

import contextlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from ..build import import_by_path
from .readable import UNREADABLE, parse_yaml

_FULL_NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")


def check_names(place: str, value: Any, bases: Iterable[type] = ()) -> None:
    """Imports what options name by full names, which checks that it may be named, while a rule for names applies.

    The library that parses configs imports functions and classes by name wherever an argument may be one, and there
    reads texts as YAML. So every text counts that can be read as the full name of something importable.

    Args:
        place: the name of the option.
        value: its value, which may be nested.
        bases: the classes whose subclasses may be named, beside those of ``trust.py``.

    Raises:
        InputError: if a name is not trusted, or if its import fails.
    """
    for option, text in texts(place, value):
        package = text.partition(".")[0]
        if _FULL_NAME.fullmatch(text) and (package in sys.modules or find_spec(package)):
            import_by_path(option, text, bases)


def texts(place: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yields each text in a nested value with the name of its option, and what is in texts that are YAML."""
    if isinstance(value, str):
        yield place, value.strip()
        parsed = None
        with contextlib.suppress(*UNREADABLE):
            parsed = parse_yaml(value)
        if parsed != value:
            yield from texts(place, parsed)
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from texts(place if name in ("class_path", "init_args") else f"{place}.{name}", part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from texts(place, part)
