"""Writes files that are either complete or absent."""

import contextlib
import csv
import io
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(
    path: str | os.PathLike[str], *, durable: bool = False, has_other_writers: bool = False
) -> Iterator[io.BufferedRandom]:
    """Opens ``<path>.part`` and renames it to ``path`` at the end of the ``with`` block.

    At any time, ``path`` holds either its old content or all of the new content. After an exception the unfinished file
    is removed. After SIGKILL it stays, and the next write replaces it. Missing folders are created. The new file has
    the default permissions, not those of the old file.

    Args:
        path: the file.
        durable: flush the content and the new name to the disk, so that both survive a power cut.
        has_other_writers: another process may be writing the same file. The unfinished file then gets a unique name,
            ``<path>.<random>.part``. If SIGKILL leaves it behind, no later write replaces it.

    Yields:
        The unfinished file, open for reading and writing bytes.

    Raises:
        OSError: if the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = f".{secrets.token_hex(8)}.part" if has_other_writers else ".part"
    unfinished = path.with_name(f"{path.name}{suffix}")
    try:
        with unfinished.open("w+b") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes text in UTF-8 with ``atomic_write``; line endings are not changed.

    Surrogate escapes, by which Python decodes file names that are not UTF-8, are written as the original bytes.
    """
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def atomic_write_csv(path: str | os.PathLike[str], rows: Iterable[Iterable[object]]) -> None:
    """Writes rows, including the header, as a CSV file with ``atomic_write``; see ``csv_text``."""
    atomic_write_text(path, csv_text(rows))


def csv_text(rows: Iterable[Iterable[object]], line_end: str = "\r\n") -> str:
    """Returns rows, including the header, as CSV. None is an empty cell.

    Spreadsheets compute a cell that begins with ``=``, ``+``, ``-`` or ``@``, which a label or file name may do. Such
    text gets a leading apostrophe, and such a path a leading ``./``; numbers stay as they are.
    """
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator=line_end).writerows([_without_formula(cell) for cell in row] for row in rows)
    return table.getvalue()


def _without_formula(cell: object) -> object:
    text = str(cell)
    if not isinstance(cell, str | os.PathLike) or not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    with contextlib.suppress(ValueError):
        float(text)
        return cell
    return f"./{text}" if isinstance(cell, os.PathLike) else f"'{text}"
