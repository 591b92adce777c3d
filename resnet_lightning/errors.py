"""What the package raises when the input, not the program, is wrong."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input. The message is one line that names what was wrong and what to do about it.

    The command line prints that line and exits with code 2; every other exception is a bug and keeps its traceback.
    """


def check_int(name: str, value: object, at_least: int) -> None:
    """Makes sure that an option is a whole number that is large enough.

    Raises:
        InputError: where it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise InputError(f"{name} is {value!r}; give a whole number of at least {at_least}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns the end of an error message: the nearest of the known words, or all of them when none is near."""
    known = sorted(known)
    by_lower_case = {k.lower(): k for k in known}
    near = difflib.get_close_matches(word.lower(), by_lower_case, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(repr(by_lower_case[n]) for n in near)}?"
    return f"known: {', '.join(known)}"
