"""The results of a study: ``results.csv``, with a row for each run, and the other files beside it."""

import csv
import hashlib
import io
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ...atomic_write import atomic_write_csv, atomic_write_text
from ...errors import InputError
from ...runs.comparison import Spread
from ...runs.readable import UNREADABLE, parse_json, read_text
from .study import Measurement

RECORD, ROWS, MEASUREMENTS = "study.json", "results.csv", "measurements.csv"


@dataclass(frozen=True)
class Row:
    """The result of one run.

    Args:
        variant: the label of its variant.
        seed: its seed.
        error: test error in percent of the weights after the last step; that of chance for a run that diverged.
        train_error: error in percent on the augmented training images, during the last epoch; None if it diverged.
        parameters: the number of trained and frozen parameters.
        steps: optimizer steps.
        seconds: duration of the training.
        data: the data set.
        device: what it was trained on.
        note: why a run has no trained network, such as that its loss was not finite.
    """

    variant: str
    seed: int
    error: float
    train_error: float | None
    parameters: int | None
    steps: int | None
    seconds: float | None
    data: str
    device: str
    note: str = ""


@dataclass(frozen=True)
class Measured:
    """A number that was measured on the network of one run; see ``Measurement``."""

    variant: str
    seed: int
    quantity: str
    at: float | None
    value: float


@dataclass(frozen=True)
class Results:
    """The results of a study at one budget.

    Args:
        record: what was run: the study, its budget, settings, variants, command and machine.
        rows: a row for each run.
        measured: what was measured on the trained networks.
    """

    record: Mapping[str, Any]
    rows: tuple[Row, ...] = ()
    measured: tuple[Measured, ...] = ()

    def values(self, variant: str, quantity: str = "error") -> dict[int, float]:
        """Returns a quantity of each run of a variant, by seed.

        Args:
            variant: the label of a variant.
            quantity: a number of ``Row``, or one that was measured, which is averaged over the places.
        """
        if quantity in _NUMBERS:
            numbers = {row.seed: getattr(row, quantity) for row in self.rows if row.variant == variant}
            return {seed: float(number) for seed, number in sorted(numbers.items()) if number is not None}
        found: dict[int, list[float]] = {}
        for one in self.measured:
            if one.variant == variant and one.quantity == quantity:
                found.setdefault(one.seed, []).append(one.value)
        return {seed: statistics.fmean(values) for seed, values in sorted(found.items())}

    def spread(self, variant: str, quantity: str = "error") -> Spread | None:
        """Returns mean and sample deviation over the seeds; None without a run."""
        values = list(self.values(variant, quantity).values())
        if not values:
            return None
        return Spread(len(values), statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def curve(self, variant: str, quantity: str) -> list[tuple[float, Spread]]:
        """Returns mean and deviation over the seeds of a measured quantity at each place, sorted by place."""
        found: dict[float, list[float]] = {}
        for one in self.measured:
            if (one.variant, one.quantity) == (variant, quantity) and one.at is not None:
                found.setdefault(one.at, []).append(one.value)
        return [
            (at, Spread(len(v), statistics.fmean(v), statistics.stdev(v) if len(v) > 1 else None))
            for at, v in sorted(found.items())
        ]

    def seeds_measured(self, variant: str) -> set[int]:
        """Returns the seeds of those runs of a variant on which something was measured."""
        return {one.seed for one in self.measured if one.variant == variant}

    def with_rows(self, rows: Iterable[Row]) -> "Results":
        """Returns a copy with further rows, which replace those of the same variant and seed."""
        merged = {(row.variant, row.seed): row for row in (*self.rows, *rows)}
        return replace(self, rows=tuple(_in_order(merged.values(), self.record)))

    def with_measured(self, variant: str, seed: int, measurements: Iterable[Measurement]) -> "Results":
        """Returns a copy with the measurements on the network of a run, which replace older ones."""
        kept = [one for one in self.measured if (one.variant, one.seed) != (variant, seed)]
        new = [Measured(variant, seed, m.quantity, m.at, m.value) for m in measurements]
        return replace(self, measured=tuple(_in_order([*kept, *new], self.record)))


_NUMBERS = "error", "train_error", "parameters", "steps", "seconds"


def _in_order(rows: Iterable[Any], record: Mapping[str, Any]) -> list[Any]:
    """Sorts rows by variant, in the order of the study, and by seed."""
    place = {label: number for number, label in enumerate(record.get("variants", {}))}
    return sorted(rows, key=lambda row: (place.get(row.variant, len(place)), row.seed))


def write_results(results: Results, folder: Path) -> None:
    """Writes the results into a folder, with the checksums by which ``read_results`` recognizes edited files."""
    tables: dict[str, Sequence[Any]] = {ROWS: results.rows, MEASUREMENTS: results.measured}
    kinds = {ROWS: Row, MEASUREMENTS: Measured}
    checksums = {}
    for name, rows in tables.items():
        if not rows:
            continue
        columns = [column.name for column in fields(kinds[name])]
        atomic_write_csv(
            folder / name, [columns, *([_cell(getattr(row, column)) for column in columns] for row in rows)]
        )
        checksums[name] = _checksum(read_text(folder / name))
    record = {**results.record, "checksums": checksums}
    atomic_write_text(folder / RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else value


def read_results(folder: str | Path, may_lack_tables: bool = False) -> Results:
    """Reads the results of a study that ``write_results`` wrote, such as those in ``notebooks/results/degradation``.

    Args:
        folder: the folder of the study, or a copy of its files without the runs.
        may_lack_tables: whether a table that is missing is taken for an empty one.

    Raises:
        InputError: if there are none, or if a file is damaged or was edited.
    """
    folder = Path(folder)
    record = _read_record(folder)
    rows, measured = (
        [] if may_lack_tables and not (folder / name).exists() else _read_table(folder / name, kind, record)
        for name, kind in ((ROWS, Row), (MEASUREMENTS, Measured))
    )
    return Results({k: v for k, v in record.items() if k != "checksums"}, tuple(rows), tuple(measured))


def _read_record(folder: Path) -> dict[str, Any]:
    file = folder / RECORD
    try:
        record = parse_json(read_text(file))
        variants, sums = record["variants"], record["checksums"]
        if all(isinstance(part, dict) for part in (record["settings"], variants, sums)) and record["study"]:
            return dict(record)
    except FileNotFoundError as error:
        raise InputError(
            f"there are no results of a study in {str(folder)!r}: it has no {RECORD}; `lightning study` writes it"
        ) from error
    except (*UNREADABLE, TypeError, KeyError):
        pass
    raise InputError(f"{str(file)!r} is damaged; delete it and run the study again: finished runs are read back")


def _read_table(file: Path, kind: type[Any], record: Mapping[str, Any]) -> list[Any]:
    expected = record["checksums"].get(file.name)
    if expected is None and not file.exists():
        return []
    again = "delete it and run the study again: finished runs are read back"
    try:
        text = read_text(file)
    except UNREADABLE as error:
        raise InputError(f"{str(file)!r} is missing or cannot be read; run the study again") from error
    if _checksum(text) != expected:
        raise InputError(f"{str(file)!r} was edited, or is of another study; {again}")
    try:
        return [kind(**_parsed(kind, row)) for row in csv.DictReader(io.StringIO(text, newline=""))]
    except (TypeError, ValueError) as error:
        raise InputError(f"{str(file)!r} is damaged; {again}") from error


def _parsed(kind: type[Any], row: Mapping[str, str]) -> dict[str, Any]:
    types = {column.name: str(column.type) for column in fields(kind)}
    return {name: _value(cell, types.get(name, "str")) for name, cell in row.items()}


def _value(cell: str, type_: str) -> Any:
    if "str" in type_:
        return cell.removeprefix("'")  # which `atomic_write_csv` puts before a formula
    if not cell and "None" in type_:
        return None
    return int(cell) if "int" in type_ else float(cell)


def _checksum(text: str) -> str:
    """Returns the checksum of a text whatever its line endings, which git may change."""
    return hashlib.sha256("\n".join(text.splitlines()).encode()).hexdigest()


def check_config(found: Results, record: Mapping[str, Any], folder: Path) -> None:
    """Checks that results are those of a study with this budget, these settings and these variants.

    Variants that one of the two lacks do not matter.

    Raises:
        InputError: if they are not, with what differs.
    """
    elsewhere = "give another --folder, or delete this one"
    for part in "study", "budget", "data":
        if found.record.get(part) != record[part]:
            raise InputError(
                f"the results in {str(folder)!r} are of {part} {found.record.get(part)!r}, not {record[part]!r}; "
                + elsewhere
            )
    theirs, ours = ({"": part["settings"], **part["variants"]} for part in (found.record, record))
    for variant in theirs.keys() & ours.keys():
        different = sorted(
            k for k in {*theirs[variant], *ours[variant]} if theirs[variant].get(k) != ours[variant].get(k)
        )
        if different:
            key = different[0]
            values = theirs[variant].get(key, "not set"), ours[variant].get(key, "not set")
            raise InputError(
                f"the results in {str(folder)!r} are of another config: {key} is {values[0]} there, and "
                f"{values[1]} now{f' ({variant})' if variant else ''}; {elsewhere}"
            )
