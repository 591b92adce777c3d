"""Trials: labelled overrides of a config, one for each run of an experiment."""

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..runs.readable import UNREADABLE, parse_yaml

SEED = "seed_everything"
"""The option whose values are repetitions of a setting, not settings of their own."""

_LONGEST_FOLDER = 80  # characters


@dataclass(frozen=True)
class Trial:
    """One run of an experiment.

    Args:
        label: its name in tables and in the name of its folder, such as ``"model.lr 0.05, seed 1"``.
        overrides: the options in which it differs from the other trials, as on the command line, such as
            ``{"model.lr": "0.05", "seed_everything": "1"}``.
    """

    label: str
    overrides: Mapping[str, str] = field(hash=False)

    @property
    def folder_name(self) -> str:
        """The name of the trial's folder, such as ``model.lr_0.05,seed_1``. Different labels have different names."""
        name = re.sub(r"[^\w.+=,-]", "_", self.label.replace(", ", ","), flags=re.ASCII)
        is_exact = (
            bool(name) and name.replace("_", " ").replace(",", ", ") == self.label and not name.startswith((".", "-"))
        )
        if is_exact and len(name) <= _LONGEST_FOLDER:
            return name
        code = hashlib.sha256(self.label.encode()).hexdigest()[:8]
        return f"{name[: _LONGEST_FOLDER - 9].strip('.-') or 'trial'}-{code}"

    @property
    def setting(self) -> tuple[tuple[str, str], ...]:
        """The overrides without the seed, in the order of their names: equal for the repetitions of a setting."""
        return tuple(sorted((key, canonical(value)) for key, value in self.overrides.items() if key != SEED))

    def options(self) -> list[str]:
        """The overrides as options of a command line."""
        return [f"--{key}={value}" for key, value in self.overrides.items()]


def labelled(overrides: Mapping[str, str]) -> Trial:
    """Returns a trial whose label lists its overrides, the seed last: ``model.lr 0.05, seed 1``."""
    parts = [f"{key} {canonical(value)}" for key, value in overrides.items() if key != SEED]
    seed = [f"seed {canonical(overrides[SEED])}"] if SEED in overrides else []
    return Trial(", ".join([*parts, *seed]), dict(overrides))


def grid(axes: Mapping[str, Sequence[str]]) -> Iterator[Trial]:
    """Yields a trial for each combination of the values, the last key varying fastest.

    Args:
        axes: the values of each key, as on the command line.
    """
    for values in itertools.product(*axes.values()):
        yield labelled(dict(zip(axes, values, strict=True)))


def parsed(value: str) -> Any:
    """Returns a value of the command line as YAML, with ``1e-3`` as a number; as text if it is not YAML."""
    return _with_numbers(_as_yaml(value))


def _as_yaml(value: str) -> Any:
    try:
        return parse_yaml(value)
    except UNREADABLE:
        return value


def canonical(value: str) -> str:
    """Returns a value in the one spelling that it has in labels and comparisons: ``1e-1`` and ``0.10`` are ``0.1``."""
    read = parsed(value)
    if isinstance(read, float) and float(f"{read:g}") == read:
        return f"{read:g}"
    return read if isinstance(read, str) else json.dumps(read, sort_keys=True, default=str)


def as_option(value: Any) -> str:
    """Returns a value that was read from YAML as on the command line. A text that looks like a number keeps quotes."""
    if isinstance(value, str) and isinstance(_as_yaml(value), str):
        return value
    return json.dumps(value, default=str)


def _with_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_numbers(part) for part in value]
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)  # YAML 1.1 reads 1e-3 as text, but the options are read as YAML 1.2
    return value
