"""The exception for bad input, and helpers for its messages."""

import difflib
import unicodedata
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input. The message is one line that names what is wrong and how to fix it.

    The command line prints that line and exits with code 2. Every other exception is a bug and keeps its traceback.
    """


def check_int(name: str, value: object, at_least: int) -> None:
    """Checks that an option is an integer of at least ``at_least``.

    Raises:
        InputError: if it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise InputError(f"{name} is {value!r}; give a whole number of at least {at_least}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns the end of an error message: the known words similar to ``word``, or all of them if none is similar."""
    known = sorted(known)
    if similar := nearest(word, known):
        return f"did you mean {' or '.join(map(repr, similar))}?"
    return f"known: {', '.join(known)}"


def visible(text: str) -> str:
    """Returns a text with each control character, except for line breaks and tabs, replaced by its code."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf")
        else repr(character)[1:-1]
        for character in text
    )


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """Returns up to three known words that are similar to ``word``, the most similar first."""
    by_lower_case = {k.lower(): k for k in known}
    word = word.lower()
    similar = difflib.get_close_matches(word, by_lower_case, n=3, cutoff=0.6)
    if not similar:  # one is the initials of the other, such as lr of learning_rate, or is a part of it
        similar = [k for k in by_lower_case if len(k) > 1 and (k == _initials(word) or word == _initials(k))]
    if not similar and len(word) > 3:
        similar = sorted((k for k in by_lower_case if word in k.split("_")), key=len)
    return [by_lower_case[s] for s in similar[:3]]


def _initials(word: str) -> str:
    return "".join(part[:1] for part in word.split("_"))
