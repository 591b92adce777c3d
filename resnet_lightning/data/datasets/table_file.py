"""Reads tables of texts: CSV and Parquet files."""

import csv
from pathlib import Path

from ...errors import InputError

_SEPARATORS = ",;\t"


def read_table(path: Path) -> dict[str, list[str]]:
    """Returns the columns of a table by name, without spaces around the values; an empty value is an empty text.

    Args:
        path: a CSV file (separated by commas, semicolons or tabs) or a Parquet file, with a line of column names.

    Raises:
        InputError: if it cannot be read.
    """
    return _read_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _read_csv(path)


def _read_csv(path: Path) -> dict[str, list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            separator = max(_SEPARATORS, key=head.count)
            reader = csv.DictReader(file, delimiter=separator, strict=True)
            columns: dict[str, list[str]] = {name.strip(): [] for name in reader.fieldnames or ()}
            for row in reader:
                if None in row or None in row.values():
                    raise InputError(f"line {reader.line_num} of {str(path)!r} has not as many values as line 1")
                for name, value in row.items():
                    columns[name.strip()].append(value.strip())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read the table {str(path)!r}: {reason}") from error
    return columns


def _read_parquet(path: Path) -> dict[str, list[str]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(f"to read {str(path)!r}: pip install 'resnet-lightning[parquet]'") from error
    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"cannot read the table {str(path)!r}: {error}") from error
    return {
        name: ["" if value is None else str(value).strip() for value in table[name].to_pylist()]
        for name in table.column_names
    }
