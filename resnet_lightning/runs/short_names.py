"""Short names and values of settings, for the columns of tables."""

import re
from collections.abc import Collection, Sequence

LONGEST_VALUE = 16


def short_names(settings: Collection[str]) -> dict[str, str]:
    """The last parts of each setting's name, as many as tell it from the others: ``lr`` for ``model.lr``.

    ``seed_everything`` becomes ``seed``.
    """
    endings = {name: _endings(name) for name in settings}
    counts: dict[str, int] = {}
    for own in endings.values():
        for ending in own:
            counts[ending] = counts.get(ending, 0) + 1
    short = {name: next((ending for ending in own if counts[ending] == 1), name) for name, own in endings.items()}
    if "seed_everything" in short and "seed" not in short.values():
        short["seed_everything"] = "seed"
    return short


def short_values(texts: Sequence[str]) -> list[str]:
    """Shortens the values of a setting for a column, so that those that differ stay different where it is possible.

    Classes lose their module, and long values their end or, if they differ there, their start or middle.
    """
    without_modules = [re.sub(r"^(?:[a-z_]\w*\.)+(?=[A-Z]\w*$)", "", text) for text in texts]
    for shorten in _without_end, _without_start, _without_middle:
        short = [shorten(text) for text in without_modules]
        if len(set(short)) == len(set(texts)):
            return short
    return [_without_end(text) for text in texts]


def _endings(name: str) -> list[str]:
    """The endings of a dotted name, the shortest first."""
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]


def _without_end(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _without_start(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"…{text[-LONGEST_VALUE + 1 :]}"


def _without_middle(text: str) -> str:
    half = LONGEST_VALUE // 2
    return text if len(text) <= LONGEST_VALUE else f"{text[: half - 1]}…{text[-half:]}"
