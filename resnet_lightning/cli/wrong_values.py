"""Converts jsonargparse's messages for values of a wrong type to one line."""

import ast
import re
from collections.abc import Sequence

from ..errors import did_you_mean

KEY = re.compile(r'[Kk]ey "([^"]+)"')
"""The option that a message of jsonargparse is about."""

_LITERAL = re.compile(r"Expected a typing\.Literal(\[[^\]]*\])")

# What jsonargparse lists for every option that may be null, a file or an object, from the least informative.
_UNINFORMATIVE = (
    ("Expected a <class 'NoneType'>", "Does not validate against any"),
    ("Expected a path",),
    ("Not a valid subclass", "a class path (str)", "a dict with"),
)
_NO_FILE = "is no file with its options; give single options, such as"


# What jsonargparse reports of a value where a mapping belongs.
_NO_MAPPING = re.compile(r"([\w.]+): Expected a <class 'dict'>\. (?:Got|Given) value: (.*)", re.S)


def wrong_value(message: str) -> str:
    """Returns one line for a message that lists an error for each type that an option may have."""
    line = _wrong_value(message)
    found = _NO_MAPPING.fullmatch(line)
    return f"{found[1]} is {found[2]}; give a mapping, such as {{name: value}}" if found else line


def _wrong_value(message: str) -> str:
    lines = [line.strip() for line in message.splitlines()]
    errors = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    for number, beginnings in enumerate(_UNINFORMATIVE):
        informative = [error for error in errors if not error.startswith(beginnings)]
        errors = informative if number == 0 else informative or errors
    if not errors:
        line = " ".join(line for line in lines if not line.startswith("Given value type"))
        return _wrong_word(re.sub(r'^Parser key "([^"]+)":', r"\1:", line))
    key = KEY.search(message)
    if key is None:
        return errors[0]
    # What a part of the value reports says more than the types that the value itself is not of.
    errors.sort(key=lambda error: error.startswith("Expected") and not error.startswith("Expected a typing.Literal"))
    value = next((line for line in lines if line.startswith("Given value:")), "")
    if errors[0].startswith("Expected"):
        if choices := _choices(errors):
            value = value.removeprefix("Given value:").strip()
            return f"{key[1]} is {value!r}; {did_you_mean(value, choices)}"
        return f"{key[1]}: {' or: '.join(errors)}. {value}{_hint(message)}"
    return _with_key(key[1], errors[0])


def _with_key(key: str, error: str) -> str:
    """Returns the error of a part of an option, which is the whole option's without it."""
    if 'Unable to load config "' in error:
        return f"{key} {_NO_FILE} --{key}.NAME VALUE"
    if _NO_FILE in error:
        return f"{key}.{error.replace('--', f'--{key}.')}"
    if error.startswith("unknown option '--"):
        return _unknown_part(error.replace("'--", f"'--{key}.", 1), key)
    if key.rpartition(".")[2] in error.partition(": ")[2]:
        return error
    if part := re.match(r'(?:Parser key )?"?([\w.]+)"?: (Expected .*)', error):
        return _wrong_word(f"{key}.{part[1]}: {part[2]}")
    is_of_part = re.match(r"[\w.]+ is '", error)
    return f"{key}{'.' if is_of_part else ': '}{error}"


def _unknown_part(line: str, key: str) -> str:
    option = line.split("'")[1]
    if f"did you mean {option}?" in line:  # it is an option of another class
        return f"unknown option {option!r}; the chosen class of {key} does not take it"
    return line


def _wrong_word(line: str) -> str:
    """Returns the line for a value that is none of the allowed words, with the nearest; other lines as they are."""
    option, _, rest = line.partition(": ")
    literal = _LITERAL.match(rest)
    if not literal or ". Got value: " not in rest:
        return line
    value = rest.partition(". Got value: ")[2]
    return f"{option} is {value!r}; {did_you_mean(value, map(str, ast.literal_eval(literal[1])))}"


def _choices(errors: Sequence[str]) -> list[str]:
    """Returns the allowed words if jsonargparse expected one of them, or a number that is also one of them."""
    found = [_LITERAL.match(error) for error in errors]
    choices = [str(choice) for literal in found if literal for choice in ast.literal_eval(literal[1])]
    others = [error for error, literal in zip(errors, found, strict=True) if not literal]
    return choices if all(error == "Expected a <class 'int'>" for error in others) else []


def _hint(message: str) -> str:
    """Returns what to do if a string was expected and YAML read a truth value or a number."""
    is_changed = re.search(r"Given value: (True|False|[-+.\de]+|inf|nan)$", message, re.M)
    if "Expected a <class 'str'>" not in message or not is_changed:
        return ""
    return "; write a word that YAML reads as a value, such as no, on or 1e3, in quotes"
