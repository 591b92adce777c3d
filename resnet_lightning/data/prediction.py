"""Images of any origin, seen as a net was trained to see them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import InputError
from .loading.files import ImageFiles
from .module import ImageDataModule


class PredictionDataModule(ImageDataModule):
    """A folder of images without labels, as a checkpoint's net knows images: nothing else of its data is needed.

    Args:
        predict_folder: the folder; its files are read as they are needed, and those that cannot be are left out.
        class_names: what the net's outputs are called.
        in_chans: 1 for grey, 3 for colour.
        image_size: height and width of the images that the net was trained with.
        shorter_side: what a file's shorter side is scaled to before the middle is cut out.
        mean: of each channel, for pixels in [0, 1].
        std: likewise.
        batch_size: images a step, in each process.
        num_workers: processes that read files; one for each core by default, at most 16.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        in_chans: int,
        image_size: Sequence[int],
        shorter_side: int,
        mean: Sequence[float],
        std: Sequence[float],
        predict_folder: str | os.PathLike[str] | None = None,
        batch_size: int = 128,
        num_workers: int | None = None,
    ) -> None:
        self._names = tuple(class_names)
        self.in_chans = in_chans  # type: ignore[misc]
        height, width = image_size
        self.height_and_width = height, width
        self.image_size = height if height == width else None
        self._shorter_side = shorter_side
        self.num_workers = num_workers
        super().__init__(batch_size=batch_size, mean=mean, std=std, predict_folder=predict_folder)

    @staticmethod
    def arguments_of(state: Mapping[str, Any]) -> dict[str, Any]:
        """Those of its arguments that a data module has left in a checkpoint.

        Raises:
            InputError: where one is missing.
        """
        names = "class_names", "in_chans", "image_size", "shorter_side", "mean", "std"
        if missing := [name for name in names if name not in state]:
            raise InputError(f"the checkpoint does not say the {missing[0]} of its images; train it again")
        return {name: state[name] for name in names}

    def find_classes(self) -> tuple[str, ...]:
        return self._names

    def files(self, names: Iterable[str]) -> ImageFiles:
        files = super().files(names)
        if not self.image_size:  # the first file, which could be of any size, or damaged, does not decide
            vars(files)["shape"] = (*self.height_and_width, self.in_chans)
        return files

    def sizes(self) -> tuple[int | None, int]:
        return self.image_size, self._shorter_side

    def read(self, part: str) -> tuple[Any, Any]:
        raise InputError(f"there are no {part} images here; give the data that the net was trained on")
