"""YAML without surprises: a key given twice, and values that YAML 1.1 changes, are errors."""

import re
from collections.abc import Iterable, Iterator

import yaml

from ..runs.readable import DEPTH, LOADER, is_too_deep

_CHANGED_NUMBER = re.compile(r"[-+]?0[0-7_]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_DECIMAL = re.compile(r"0|-?[1-9][0-9]*")
_LARGEST = 1_000_000
_TAG = "tag:yaml.org,2002:"
_PLACES_OF_NAMES = {("data", "classes"), ("data", "init_args", "classes"), ("classes",), ("init_args", "classes")}
"""Where lists of names lie in a config, or in a file with the options of one of its groups."""


class StrictError(Exception):
    """A key that is given twice, or a value that YAML changes. The message is one line.

    It is no ``YAMLError`` or ``ValueError``, since jsonargparse would catch those and drop the message.
    """


def check_yaml(text: str) -> None:
    """Checks a text that is YAML.

    Raises:
        YAMLError: if it is not.
        StrictError: if a key is given twice in one mapping, if a part contains itself, or if YAML reads an unquoted
            value as something else than what it looks like: ``010`` as 8, ``12:30`` as 750, and in a list of class
            names also ``no`` as false.
    """
    if is_too_deep(text):
        raise StrictError(f"lists and mappings are nested more than {DEPTH} deep; write them flatter")
    root = yaml.compose(text, Loader=LOADER)
    # One value on a command line is left to jsonargparse, which may read it as it is.
    if root is None or isinstance(root, yaml.ScalarNode):
        return
    parts = list(_walk(root, (), set()))
    _check_size(node for _, node in parts)
    for path, node in parts:
        if isinstance(node, yaml.MappingNode):
            _check_keys(path, node)
        elif isinstance(node, yaml.ScalarNode):
            is_name = path[:-1] in _PLACES_OF_NAMES and not _DECIMAL.fullmatch(node.value)
            _check_scalar(node, ".".join(path), is_name)


def _check_size(nodes: Iterable[yaml.Node]) -> None:
    """Rejects a document that repeats aliases of aliases, until it has billions of values."""
    sizes: dict[int, int] = {}
    for node in reversed(list(nodes)):  # a part comes after the first that it lies in
        _size(node, sizes)
        if sizes[id(node)] > _LARGEST:
            line = node.start_mark.line + 1
            raise StrictError(f"its aliases repeat to more than {_LARGEST:,} values (line {line}); write them out")


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    if id(node) not in sizes:
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        values = [part[1] if isinstance(part, tuple) else part for part in parts]
        sizes[id(node)] = 1 + sum(_size(value, sizes) for value in values)
    return sizes[id(node)]


def _walk(
    node: yaml.Node, path: tuple[str, ...], seen: set[int], around: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[str, ...], yaml.Node]]:
    """Yields each part of a document with its path; a part that aliases repeat is visited once."""
    if id(node) in around:
        raise StrictError(f"{'.'.join(path)} contains itself (line {node.start_mark.line + 1}); remove the alias")
    if id(node) in seen:
        return
    seen.add(id(node))
    yield path, node
    around = (*around, id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _walk(value, (*path, str(key.value)), seen, around)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _walk(value, (*path, str(number)), seen, around)


def _check_keys(path: tuple[str, ...], node: yaml.MappingNode) -> None:
    first: dict[tuple[str, str], yaml.ScalarNode] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        name = ".".join((*path, key.value))
        _check_scalar(key, name, is_name=key.tag not in (f"{_TAG}int", f"{_TAG}merge"))
        before = first.setdefault((key.tag, key.value), key)
        if before is not key:
            one, other = before.start_mark.line + 1, key.start_mark.line + 1
            lines = f"in line {one} and in line {other}" if one != other else f"both in line {one}"
            raise StrictError(f"{name} is given twice, {lines}; keep one of them")


def _check_scalar(node: yaml.ScalarNode, name: str, is_name: bool) -> None:
    """Checks an unquoted value: that of a name must be a string, any other must be the number that it looks like."""
    kind = node.tag.removeprefix(_TAG)
    if node.style or kind in ("str", "timestamp"):  # jsonargparse reads dates as strings
        return
    if is_name or (kind in ("int", "float") and _CHANGED_NUMBER.fullmatch(node.value)):
        value = yaml.safe_load(node.value)
        shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
        raise StrictError(
            f"YAML reads {node.value or 'nothing'} as {shown} ({name}, line {node.start_mark.line + 1}); "
            f"write '{node.value}' in quotes for the text, or {shown} for the value"
        )
