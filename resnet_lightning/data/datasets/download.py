"""Downloads through torchvision, with an error message that names the fix."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import InputError


def download_unless_there(name: str, files: Sequence[Path], download: Callable[[], object]) -> None:
    """Downloads a data set unless its files exist.

    Args:
        name: of the data set.
        files: the files that must exist.
        download: downloads them.

    Raises:
        InputError: if the download fails.
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
            f"download failed ({reason}); copy the files there or give their folder with --data.root. "
            "`lightning fit --config digits` needs no download"
        ) from error
