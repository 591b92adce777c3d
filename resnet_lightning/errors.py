"""The exception for bad input, and helpers for its messages."""

import difflib
import re
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
    if not known:
        return "it takes none"
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
    """Returns up to three known words that are similar to ``word``, the most similar first.

    A known word that differs in upper case, hyphens and the like only is the only one.
    """
    by_letters = {_letters(k): k for k in known}
    letters = _letters(word)
    if letters in by_letters:
        return [by_letters[letters]]
    ratios = {k: difflib.SequenceMatcher(None, k, letters).ratio() for k in by_letters}
    best = max(ratios.values(), default=0.0)
    similar = [
        k for k in sorted(ratios, key=lambda k: -ratios[k]) if ratios[k] >= max(_SIMILAR, best - _ABOUT_AS_SIMILAR)
    ]
    if not similar:  # one is the initials of the other, such as lr of learning_rate, or is a part of it
        similar = [
            k for k, name in by_letters.items() if len(k) > 1 and (k == _initials(word) or letters == _initials(name))
        ]
    if not similar:
        similar = sorted((k for k, name in by_letters.items() if _is_part(word, name)), key=len)
    return [by_letters[s] for s in similar[:3]]


_SIMILAR = 0.6  # the least ratio of equal letters
_ABOUT_AS_SIMILAR = 0.15  # the largest difference of that ratio from the most similar word


def _letters(word: str) -> str:
    return re.sub(r"[\W_]+", "", word.lower()) or word


def _initials(word: str) -> str:
    return "".join(part[:1] for part in re.split(r"[\W_]+", word.lower()))


def _is_part(word: str, name: str) -> bool:
    """Whether a word is a part of the other: ``cosine`` of ``CosineAnnealingLR``, ``lr`` of ``initial_lr``."""
    is_in_name = word in name if len(word) == 2 else len(word) > 2 and _letters(word) in _letters(name)
    return is_in_name or (len(name) > 1 and name.lower() in re.split(r"[\W_]+", word.lower()))
