"""Where the images of a data set are kept: on the accelerator, in the machine's memory, or in their files."""

import logging

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor

from ...errors import InputError
from .files import ImageFiles
from .memory import fits, in_words

_log = logging.getLogger(__name__)


class Placement:
    """Decides where images are kept, and moves them there once; all splits share the copy.

    Args:
        resident: ``"device"`` for the accelerator, ``"cpu"`` for the machine's memory, False for the files. ``"auto"``
            uses the first of these where the images fit.

    Raises:
        InputError: for another value.
    """

    def __init__(self, resident: bool | str) -> None:
        if resident not in ("auto", "cpu", "device", False):
            raise InputError(f"data.resident is {resident!r}; give auto, cpu, device or false")
        self._resident = resident
        self._placed: dict[tuple[int, torch.device], Tensor] = {}

    def decodes(self, files: ImageFiles, processes: int, *, crops_files: bool) -> bool:
        """Whether all files are decoded into memory instead of streamed.

        Args:
            files: the images.
            processes: how many on this machine keep a copy.
            crops_files: whether training crops random boxes from the original images. ``"auto"`` then streams the
                files: what a crop shows must not depend on the machine's memory.
        """
        if self._resident != "auto":
            return self._resident is not False
        if crops_files:
            return False
        if fits(torch.device("cpu"), files.nbytes * processes):
            return True
        _inform(f"{in_words(files.nbytes)} of images are streamed from files: too large for the machine's memory")
        return False

    def place(self, images: Tensor, device: torch.device) -> Tensor:
        """Returns the images on the accelerator ``device`` if they are kept there, else where they are.

        Raises:
            InputError: if they must be kept there and do not fit.
        """
        if device.type == "cpu" or self._resident == "cpu":
            return images
        if (id(images), device) not in self._placed:
            if self._resident == "auto" and not fits(device, images.nbytes):
                _inform(f"{in_words(images.nbytes)} of images stay in the machine's memory: too large for {device}")
                return images
            try:
                self._placed[id(images), device] = images.to(device)
            except torch.OutOfMemoryError as error:
                raise InputError(
                    f"data.resident is device, but {in_words(images.nbytes)} of images do not fit there; give auto"
                ) from error
            _inform(f"{in_words(images.nbytes)} of images are kept on {device}")
        return self._placed[id(images), device]


@rank_zero_only
def _inform(line: str) -> None:
    _log.info(line)
