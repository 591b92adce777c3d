"""Downloading through torchvision, with an error that says what to do about it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import InputError


def download_unless_there(name: str, files: Sequence[Path], download: Callable[[], object]) -> None:
    """Downloads a data set unless its files are there.

    Args:
        name: what the data set is called.
        files: what has to be there.
        download: brings them.

    Raises:
        InputError: where that failed.
    """
    absent = [file for file in files if not file.is_file()]
    if not absent:
        return
    try:
        download()
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise InputError(
            f"no {name} in {str(absent[0].parent)!r} (looked for {', '.join(file.name for file in absent)}), and the "
            f"download failed ({reason}); copy the files there or give their place with --data.root. "
            "`lightning fit --config configs/digits.yaml` needs no download"
        ) from error
