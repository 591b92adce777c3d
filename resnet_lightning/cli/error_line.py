"""Makes one line of an error message that fits on three lines of a terminal."""

import re

LONGEST = 240 - len("error: ")
"""The number of characters that follow ``error:`` on three lines of a terminal."""

_SHOWN = 60  # characters that are left of a long value, at least; also in the expression below

# The values that a message repeats: quoted, in brackets, or a word without spaces.
_VALUES = re.compile(r"'[^']{60,}'|\"[^\"]{60,}\"|[\[{].{60,}[\]}]|\S{60,}")
_LIST = re.compile(r"(?<=known: )[^;]+")
_CUT = "..."


def error_line(message: str) -> str:
    """Returns a message on one line of at most ``LONGEST`` characters.

    Long values are cut in their middle and lists of known names at their end, so that the reason and the fix are left.
    """
    line = " ".join(message.split())
    if len(line) <= LONGEST:
        return line
    line = _LIST.sub(lambda found: _with_fewer_names(found[0], len(line) - LONGEST), line)
    while len(line) > LONGEST and (found := max(_VALUES.finditer(line), key=lambda value: len(value[0]), default=None)):
        left = max(len(found[0]) - (len(line) - LONGEST), _SHOWN)
        shorter = _cut_in_the_middle(found[0], left)
        if len(shorter) >= len(found[0]):
            break
        line = line[: found.start()] + shorter + line[found.end() :]
    return line if len(line) <= LONGEST else line[: LONGEST - len(_CUT)].rstrip() + _CUT


def _with_fewer_names(names: str, excess: int) -> str:
    count = len(names.split(", "))
    end = f", {_CUT} ({count} in all)"
    kept = names[: max(len(names) - excess - len(end), _SHOWN)]
    return kept.rpartition(", ")[0] + end if count > 2 else names


def _cut_in_the_middle(value: str, length: int) -> str:
    length = min(length, len(value) - 1) - len(_CUT)
    return value[: length - length // 3] + _CUT + value[len(value) - length // 3 :]
