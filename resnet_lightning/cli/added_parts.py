"""Finds the callbacks and loggers that a command line adds to those of a config, as ``--trainer.callbacks+=NAME``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..runs.readable import UNREADABLE, parse_yaml, read_text


def added_parts(options: Sequence[tuple[str, str]], overlays: Sequence[str]) -> dict[str, set[str]]:
    """Returns the names of the classes that are added, without their modules, by option.

    Args:
        options: the names and values that the user typed.
        overlays: the paths of the configs that are applied on top.
    """
    added: dict[str, set[str]] = {}
    for option, text in options:
        if option.endswith("+"):
            _add(added, option, _content(text))
    for path in overlays:
        content = _content(Path(path))
        trainer = content.get("trainer") if isinstance(content, dict) else None
        for name, parts in trainer.items() if isinstance(trainer, dict) else ():
            if str(name).endswith("+"):
                _add(added, f"trainer.{name}", parts)
    return added


def class_names(parts: Any) -> set[str]:
    """Returns the names of the classes in an option of callbacks or loggers, without their modules."""
    if isinstance(parts, list):
        return {name for part in parts for name in class_names(part)}
    path = parts.get("class_path") if isinstance(parts, dict) else parts
    return {path.rpartition(".")[2]} if isinstance(path, str) else set()


def _add(added: dict[str, set[str]], option: str, parts: Any) -> None:
    added.setdefault(option.removesuffix("+"), set()).update(class_names(parts))


def _content(source: str | Path) -> Any:
    try:
        return parse_yaml(source if isinstance(source, str) else read_text(source))
    except UNREADABLE:  # the parser will name the mistake
        return {}
