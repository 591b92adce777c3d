"""Lists of runs for programs: as records, as rows of a table, and sorted by any value."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import InputError, did_you_mean
from .comparison import settings
from .configs import as_text
from .ranking import smaller_is_better
from .reader import Run
from .short_names import short_names

_FACTS: dict[str, Callable[[Run], Any]] = {
    "folder": lambda run: str(run.folder),
    "name": lambda run: run.name,
    "state": lambda run: run.state,
    "started": lambda run: run.started.isoformat(),
    "epochs": lambda run: run.epochs,
    "max_epochs": lambda run: run.max_epochs,
    "best_val_acc": lambda run: run.best_accuracy(),
    "test_images": lambda run: run.evaluation.images if run.evaluation else None,
    "training_seconds": lambda run: run.record.get("training_seconds"),
    "images_per_second": lambda run: run.record.get("images_per_second"),
    "net": lambda run: run.record.get("net"),
    "parameters": lambda run: run.record.get("parameters"),
    "device": lambda run: run.record.get("device"),
}

_LARGEST_FIRST = "started", "epochs", "max_epochs", "best_val_acc", "test_images", "images_per_second"


def records(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A mapping for each run, with values that JSON has.

    ``metrics`` holds the last value of each metric. A value that is not finite is None, and a metric that was not
    logged is left out. ``scores`` are those of the test with their 95 % intervals, ``by_class`` those of each class.
    """
    return [
        {
            **{name: _finite(value(run)) for name, value in _FACTS.items()},
            "metrics": {name: _finite(run.last(name)) for name in _metrics(run)},
            "scores": {
                name: score.as_dict() for name, score in (run.evaluation.scores if run.evaluation else {}).items()
            },
            "by_class": run.evaluation.by_class if run.evaluation else [],
            "settings": json.loads(json.dumps(_all_finite(settings(run)), default=str)),
            "notes": list(run.notes),
        }
        for run in runs
    ]


def rows(runs: Sequence[Run]) -> list[list[Any]]:
    """The same as a table: a row of names, and a row for each run, in which None stands for a value that it lacks."""
    flat = [_flat(run) for run in runs]
    names = list(dict.fromkeys([*_FACTS, *(name for run in flat for name in run)]))
    return [names, *([run.get(name) for name in names] for run in flat)]


def sort_keys(runs: Sequence[Run]) -> list[str]:
    """What runs can be sorted by: facts, metrics, and settings by their short or full names."""
    return [*_FACTS, *_all_metrics(runs), *_settings_by_name(runs)]


def sorted_runs(runs: Sequence[Run], key: str) -> list[Run]:
    """Sorts runs by a fact, a metric or a setting. Runs without the value are last, and equal ones keep their order.

    The newest run, the largest number of epochs and the best value of a metric come first, and other values in
    ascending order.

    Raises:
        InputError: if no run has such a value.
    """
    value, descending = _value_of(runs, key)
    having = [run for run in runs if _is_value(value(run))]
    lacking = [run for run in runs if not _is_value(value(run))]
    return sorted(having, key=lambda run: _order(value(run)), reverse=descending) + lacking


def setting_named(runs: Sequence[Run], key: str) -> str | None:
    """The full name of a setting that is sorted by; None if the key is a fact or a metric."""
    is_other = key in _FACTS or key in _all_metrics(runs)
    return None if is_other else _settings_by_name(runs).get(key)


def metric_named(runs: Sequence[Run], key: str) -> str | None:
    """The metric that is sorted by; None if the key is a fact or a setting."""
    return key if key not in _FACTS and key in _all_metrics(runs) else None


def _value_of(runs: Sequence[Run], key: str) -> tuple[Callable[[Run], Any], bool]:
    """Returns a function that reads a value of a run, and whether its largest values come first."""
    if key in _FACTS:
        return _FACTS[key], key in _LARGEST_FIRST
    if key in _all_metrics(runs):
        return lambda run: run.last(key), not smaller_is_better(runs, key)
    by_name = _settings_by_name(runs)
    if key not in by_name:
        raise InputError(f"--sort is {key!r}, which no run has; {did_you_mean(key, sort_keys(runs))}")
    return lambda run: settings(run).get(by_name[key]), False


def _is_value(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _order(value: Any) -> tuple[int, float, str]:
    """Numbers come before texts."""
    if isinstance(value, int | float):
        return 0, value, ""
    return 1, 0.0, as_text(value)


def _settings_by_name(runs: Sequence[Run]) -> dict[str, str]:
    """The full names of all settings, by their full and their short names."""
    full = list(dict.fromkeys(name for run in runs for name in settings(run)))
    return {**{short: name for name, short in short_names(full).items()}, **{name: name for name in full}}


def _metrics(run: Run) -> list[str]:
    return list(dict.fromkeys([*run.curves, *(run.evaluation.metrics if run.evaluation else ())]))


def _scores(run: Run) -> dict[str, float]:
    """The scores of the test and their intervals by the names of metrics, such as ``test/acc_low``."""
    return run.evaluation.further_metrics() if run.evaluation else {}


def _all_metrics(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in (*_metrics(run), *_scores(run))))


def _flat(run: Run) -> dict[str, Any]:
    """All values of a run by the names of their columns."""
    flat: dict[str, Any] = {name: value(run) for name, value in _FACTS.items()}
    parts: dict[str, dict[str, Any]] = {
        "metric": {name: run.last(name) for name in _metrics(run)} | _scores(run),
        "setting": {name: None if value is None else as_text(value) for name, value in settings(run).items()},
    }
    for kind, values in parts.items():
        flat.update({f"{kind} {name}" if name in flat else name: value for name, value in values.items()})
    return {**flat, "notes": "; ".join(run.notes)}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _all_finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _all_finite(part) for key, part in value.items()}
    return [_all_finite(part) for part in value] if isinstance(value, list) else _finite(value)
