"""A table in Markdown that names the machine and grows row by row."""

import platform
from pathlib import Path

import torch

from ..atomic_write import atomic_write_text
from ..errors import InputError
from ..training.hardware import available_cores
from .rows import HEAD, Row


class MarkdownTable:
    """A table that is printed row by row, and written to a file after each row.

    Args:
        output: the file; None to print only.

    Raises:
        InputError: if the file cannot be written.
    """

    def __init__(self, output: Path | None) -> None:
        self._output = output
        self._lines = [f"Measured on {machine()}.", "", *HEAD]
        self._write()
        print("\n".join(self._lines), flush=True)

    def add(self, part: str, row: Row) -> None:
        self._lines.append(row.markdown(part))
        self._write()
        print(self._lines[-1], flush=True)

    def _write(self) -> None:
        if self._output is None:
            return
        try:
            self._output.parent.stat()  # a missing folder is probably a typo, so it is not created
            atomic_write_text(self._output, "\n".join(self._lines) + "\n")
        except OSError as error:
            raise InputError(f"cannot write {str(self._output)!r}: {error.strerror}") from error


def machine() -> str:
    """Names the GPU, or the kind of CPU, and the versions."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"a CPU ({platform.machine()})"
    cuda = f", CUDA {torch.version.cuda}" if torch.cuda.is_available() else ""
    cores = f"{available_cores()} CPU cores"
    return f"{device}, {cores}, torch {torch.__version__.split('+')[0]}{cuda}, Python {platform.python_version()}"
