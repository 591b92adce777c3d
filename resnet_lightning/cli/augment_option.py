"""The short forms of ``data.augment``: a transform by its name, or as ``class_path`` and ``init_args``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

_OPTION = "--data.augment"
_NESTED = f"{_OPTION}.transform"


def with_transforms(arguments: Sequence[str]) -> list[str]:
    """Returns a command line with ``--data.augment NAME`` written as ``--data.augment.transform=NAME``.

    The other options of the augmentation are kept, and the arguments of the transform are ``--data.augment.init_args``.
    """
    found: list[str] = []
    rest = list(arguments)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        short = name.replace(_NESTED, _OPTION, 1) if name.startswith(f"{_NESTED}.") else name
        if short not in (_OPTION, _NESTED, f"{_OPTION}.class_path") and not short.startswith(f"{_OPTION}.init_args"):
            found.append(f"{name}{equals}{value}")
            continue
        value = value if equals or not rest else rest.pop(0)
        if short.startswith(f"{_OPTION}.init_args"):
            found.append(f"{_NESTED}_args{short.removeprefix(f'{_OPTION}.init_args')}={value}")
            continue
        transform = None if Path(value).is_file() else _written_out(_parsed(value))
        if transform is None:
            found.append(f"{name}={value}")
        else:
            found += [f"{_OPTION}.{option}={_text(part)}" for option, part in transform.items()]
    return found


def _written_out(augment: Any) -> dict[str, Any] | None:
    """Returns an augmentation whose short form of a transform is written out as its options; None if it has none."""
    if (transform := _transform(augment)) is not None:
        return transform
    if not isinstance(augment, dict) or not isinstance(augment.get("transform"), dict):
        return None
    transform = _transform(augment["transform"])
    if transform is None:
        return None
    arguments = {**transform.get("transform_args", {}), **(augment.get("transform_args") or {})}
    return {**augment, **transform, **({"transform_args": arguments} if arguments else {})}


def _transform(value: Any) -> dict[str, Any] | None:
    """Returns the options of an augmentation that a short form stands for; None for any other value."""
    if isinstance(value, str) and value:
        return {"transform": value}
    if isinstance(value, dict) and set(value) in ({"class_path"}, {"class_path", "init_args"}):
        arguments = value.get("init_args")
        return {"transform": value["class_path"], **({"transform_args": arguments} if arguments else {})}
    return None


def _parsed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def with_transform_in_config(content: Any) -> Any:
    """Returns a parsed config in which a short form of ``data.init_args.augment`` is written out."""
    data: Any = content.get("data") if isinstance(content, dict) else None
    options: Any = data.get("init_args") if isinstance(data, dict) else None
    if isinstance(options, dict) and (augment := _written_out(options.get("augment"))):
        return {**content, "data": {**data, "init_args": {**options, "augment": augment}}}
    return content
