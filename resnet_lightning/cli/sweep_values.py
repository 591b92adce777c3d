"""The values of a sweep's options: lists on the command line, ranges, and files of W&B's form."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError, did_you_mean
from ..experiments.drawing import Range
from ..experiments.trials import as_option, parsed
from ..runs.readable import UNREADABLE, parse_yaml, read_text
from .shipped_configs import FOLDER
from .strict_yaml import StrictError, check_yaml

Values = list[str] | Range

# Options that are lists already, or belong to the command and not to the config.
_NOT_SWEPT = {"config", "overlay", "trust", "debug"}
_REFUSED = {
    "resume": "a sweep resumes its runs itself",
    "ckpt_path": "the runs of a sweep start anew; give weights as --model.backbone_args.pretrained",
    "find": "a sweep trains; `lightning fit` has it",
    "stop_after": "--halving stops runs early",
    "print_config": "`lightning fit` has it",
    "print_schema": "`lightning fit` has it",
}

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(log:)?({_NUMBER})\.\.({_NUMBER})")


@dataclass
class Space:
    """What a sweep varies, and what its runs share.

    Args:
        options: the command line after ``lightning fit`` that all runs share.
        axes: the values of each option that varies.
        settings: combinations that are listed one by one; each is run with all values of the axes.
    """

    options: list[str] = field(default_factory=list)
    axes: dict[str, Values] = field(default_factory=dict)
    settings: list[dict[str, str]] = field(default_factory=list)


def read_space(arguments: Sequence[str], file: str | None) -> Space:
    """Returns what a command line, and the file that it names, vary. The command line wins.

    Args:
        arguments: the options of ``lightning fit``, with lists of values.
        file: the name of a shipped sweep, or the path of a file; None without one.

    Raises:
        InputError: if a list is empty, a range is none, an option is given twice, or the file cannot be read.
    """
    space = read_file(file) if file is not None else Space()
    typed = list(_given(arguments))
    names = [name for name, _, _ in typed]
    if "config" in names:
        space.options = _without_config(space.options)
    for name, value, words in typed:
        if name in _REFUSED:
            raise InputError(f"--{name} does not belong to a sweep: {_REFUSED[name]}")
        if value is None or name in _NOT_SWEPT:
            space.options += words
            continue
        values = read_values(f"--{name}", value)
        varies = isinstance(values, Range) or len(values) > 1 or name == "seed_everything"
        if (varies or name in space.axes) and names.count(name) > 1:
            raise InputError(f"--{name} is given twice; give all of its values in one list, as --{name} 1,2")
        for setting in space.settings:
            setting.pop(name, None)
        if varies:
            space.axes[name] = values
        else:
            space.axes.pop(name, None)
            space.options += words
    return space


def _given(arguments: Sequence[str]) -> Iterator[tuple[str, str | None, list[str]]]:
    """Yields the name, the value and the words of each option; a word without an option is left for the parser."""
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "-c":
            yield "config", "", [word, *rest[:1]]
            rest = rest[1:]
        elif not word.startswith("--"):
            yield "", None, [word]
        elif "=" in word:
            name, _, value = word[2:].partition("=")
            yield name, value, [word]
        elif rest and (not rest[0].startswith("-") or re.match(_NUMBER, rest[0])):
            yield word[2:], rest[0], [word, rest.pop(0)]
        else:
            yield word[2:], None, [word]


def _without_config(options: Sequence[str]) -> list[str]:
    return [word for name, _, words in _given(options) if name != "config" for word in words]


def read_values(option: str, text: str) -> Values:
    """Returns the values of an option: those of a list with commas, or a range such as ``1..5`` or ``log:0.01..1.0``.

    Commas inside brackets, braces, parentheses and quotes separate nothing.

    Raises:
        InputError: if a value is empty, a bracket or quote is not closed, or a range is empty.
    """
    if found := _RANGE.fullmatch(text.strip()):
        is_int = all(re.fullmatch(r"[-+]?\d+", end) for end in found.groups()[1:])
        return checked_range(option, float(found[2]), float(found[3]), bool(found[1]), is_int)
    values = [_unquoted(part.strip()) for part in _split(option, text)]
    if "" in values:
        raise InputError(f"{option} is {text!r}, a list with an empty value; give values as in {option} 1,2,3")
    ranges = [value for value in values if _RANGE.fullmatch(value)]
    if ranges:
        raise InputError(f"{option} has the range {ranges[0]!r} among other values; give either a range or a list")
    return _distinct(values)


def _distinct(values: Sequence[str]) -> list[str]:
    """Returns the values, each once: 0.1 and 1e-1 are one."""
    kept: dict[str, str] = {}
    for value in values:
        kept.setdefault(repr(parsed(value)), value)
    return list(kept.values())


def _split(option: str, text: str) -> list[str]:
    parts, quote = [""], ""
    open_brackets: list[str] = []
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'" and (open_brackets or not parts[-1].strip()):
            quote = character
        elif character in "[{(":
            open_brackets.append("]})"["[{(".index(character)])
        elif open_brackets and character == open_brackets[-1]:
            open_brackets.pop()
        elif character == "," and not open_brackets:
            parts.append("")
            continue
        parts[-1] += character
    if quote or open_brackets:
        what = "quote" if quote else "bracket"
        raise InputError(f"{option} is {text!r}, in which a {what} is not closed; each value of a list must be whole")
    return parts


def _unquoted(value: str) -> str:
    """Returns a value without the quotes that keep its commas together."""
    is_quoted = len(value) > 1 and value[0] in "\"'" and value.find(value[0], 1) == len(value) - 1
    return value[1:-1] if is_quoted and "," in value else value


def checked_range(option: str, low: float, high: float, is_log: bool, is_int: bool) -> Range:
    """Returns a range.

    Raises:
        InputError: if it is empty, or logarithmic and not positive.
    """
    shown = f"{low:g}..{high:g}"
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"{option} has the range {shown}; give the smaller end first, as in {option} 0.01..1.0")
    if is_log and low <= 0:
        raise InputError(f"{option} has the logarithmic range {shown}; its ends must be greater than 0")
    return Range(low, high, is_log, is_int)


# Files.


def read_file(name: str) -> Space:
    """Reads a sweep from a file: W&B's form, a mapping from options to lists of values, or a list of settings.

    Raises:
        InputError: if there is none, or if it has another form.
    """
    path = _path_of(name)
    place = f"the sweep {name!r}"
    try:
        text = read_text(path)
        check_yaml(text)
        content = parse_yaml(text)
    except StrictError as error:
        raise InputError(f"{place}: {error}") from error
    except UNREADABLE as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        why = "is not YAML" if isinstance(error, yaml.YAMLError) else "cannot be read"
        raise InputError(f"{place} {why}{line}") from error
    if isinstance(content, dict) and "parameters" in content:
        options, parameters = _command_of(place, content), content["parameters"]
        if not isinstance(parameters, dict) or not parameters:
            raise InputError(f"{place}: parameters is empty; give a mapping from options to their values")
        return _space_of(place, options, dict(_flat_parameters(place, parameters)))
    if isinstance(content, dict) and content:
        options = [f"--config={content['config']}"] if "config" in content else []
        return _space_of(place, options, {key: value for key, value in content.items() if key != "config"})
    if isinstance(content, list) and content and all(isinstance(item, dict) for item in content):
        settings = [{str(key): as_option(value) for key, value in item.items()} for item in content]
        return Space(settings=settings)
    raise InputError(
        f"{place} has no values; give a mapping from options to lists, as in `model.lr: [0.05, 0.1]`, or a list of them"
    )


def _path_of(name: str) -> Path:
    shipped = {path.stem: path for path in sorted((FOLDER / "sweeps").glob("*.yaml"))}
    if Path(name).is_file():
        return Path(name)
    if found := shipped.get(name.removeprefix("sweeps/").removesuffix(".yaml")):
        return found
    raise InputError(f"there is no sweep {name!r}; {did_you_mean(name.removeprefix('sweeps/'), shipped)}")


def _command_of(place: str, content: Mapping[str, Any]) -> list[str]:
    """Returns the options of ``lightning fit`` in W&B's ``command``."""
    command = content.get("command", [])
    words = command.split() if isinstance(command, str) else command
    if not isinstance(words, list) or not all(isinstance(word, str | int | float) for word in words):
        raise InputError(f"{place}: command is {command!r}; give a list of words")
    texts = [str(word) for word in words]
    if texts and "fit" not in texts:
        raise InputError(f"{place}: its command does not run `lightning fit`")
    return [word for word in texts[texts.index("fit") + 1 :] if not word.startswith("${")] if texts else []


def _flat_parameters(place: str, parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields W&B's parameters by their full names; those that are nested have a mapping ``parameters``."""
    for key, value in parameters.items():
        if isinstance(value, dict) and isinstance(value.get("parameters"), dict):
            yield from _flat_parameters(place, value["parameters"], f"{prefix}{key}.")
        elif isinstance(value, dict):
            yield f"{prefix}{key}", value
        else:
            raise InputError(f"{place}: {prefix}{key} is {value!r}; give a mapping such as {{values: [1, 2]}}")


def _space_of(place: str, options: list[str], parameters: Mapping[str, Any]) -> Space:
    space = Space(options)
    for key, value in parameters.items():
        if str(key) in _REFUSED or str(key) in _NOT_SWEPT:
            raise InputError(f"{place}: {key} cannot be varied")
        values = _values_of(place, str(key), value)
        if isinstance(values, list) and len(values) == 1 and key != "seed_everything":
            space.options.append(f"--{key}={values[0]}")
        else:
            space.axes[str(key)] = values
    return space


def _values_of(place: str, key: str, value: Any) -> Values:
    if isinstance(value, dict) and value.keys() & {"min", "max", "distribution", "value", "values"}:
        if "min" in value or "max" in value:
            return _range_of(place, key, value)
        value = value.get("values", [value["value"]] if "value" in value else [])
    elif isinstance(value, dict):
        raise InputError(f"{place}: {key} is a mapping; give a list, as in `{key}: [1, 2]`, or {{min: 1, max: 5}}")
    values = value if isinstance(value, list) else [value]
    if not values:
        raise InputError(f"{place}: the list of {key} is empty; give at least one value")
    return _distinct([as_option(item) for item in values])


_DISTRIBUTIONS = {"uniform": (False, False), "log_uniform_values": (True, False), "int_uniform": (False, True)}


def _range_of(place: str, key: str, value: Mapping[str, Any]) -> Range:
    low, high = parsed(str(value.get("min"))), parsed(str(value.get("max")))
    if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)):
        raise InputError(f"{place}: {key} has min {value.get('min')} and max {value.get('max')}; give two numbers")
    are_ints = isinstance(low, int) and isinstance(high, int)
    kind = value.get("distribution", "int_uniform" if are_ints else "uniform")
    if kind not in _DISTRIBUTIONS:
        raise InputError(f"{place}: {key} has an unknown distribution; {did_you_mean(str(kind), _DISTRIBUTIONS)}")
    return checked_range(f"{place}: {key}", float(low), float(high), *_DISTRIBUTIONS[kind])
