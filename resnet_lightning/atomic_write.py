"""Files that are whole or not there."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], *, durable: bool = False) -> Iterator[BinaryIO]:
    """Opens a file beside ``path``, and renames it to ``path`` at the end of the ``with`` block.

    Whatever happens meanwhile, ``path`` holds either all of the new content or what it held before. After an exception
    the unfinished file is removed. Missing folders are made.

    Args:
        path: of the file.
        durable: flush the content and the renaming to the disk, so that both survive a power cut.

    Yields:
        The unfinished file, open for reading and writing bytes.

    Raises:
        OSError: if the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
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
    """Writes text in UTF-8, as ``atomic_write`` does."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))
