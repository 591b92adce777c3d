"""Images in any folder, prepared like those that a model was trained on."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Self

from ..errors import InputError
from .image_spec import ImageSpec
from .loading.files import ImageFiles
from .module import ImageDataModule


class PredictionDataModule(ImageDataModule):
    """Images without labels, prepared for the model of a checkpoint. The training data is not needed.

    Files are streamed; unreadable files are skipped.

    Args:
        class_names: the names of the model's outputs.
        in_chans: 1 for grey, 3 for colour.
        image_size: height and width of the images that the model was trained on.
        shorter_side: the length to which a file's shorter side is scaled before its centre is cropped.
        mean: of each channel, for pixels in [0, 1].
        std: likewise.
        white_level: the pixel value of white in grey images of more than 8 bits.
        multilabel: whether an image may have several labels.
        predict_folder: a folder, an image file, or a list of these.
        batch_size: images per step, in each process.
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
        white_level: float | None = None,
        multilabel: bool | None = None,
        predict_folder: Sequence[str] | str | os.PathLike[str] | None = None,
        batch_size: int = 128,
        num_workers: int | None = None,
    ) -> None:
        height, width = image_size
        self._spec = ImageSpec(
            tuple(class_names),
            in_chans,
            (height, width),
            shorter_side,
            tuple(mean),
            tuple(std),
            white_level,
            multilabel,
        )
        self.multilabel = bool(multilabel)
        self.white_level = white_level
        self.in_chans = in_chans
        self.image_size = height if height == width else None
        self.num_workers = num_workers
        super().__init__(batch_size=batch_size, mean=mean, std=std, predict_folder=predict_folder)

    @classmethod
    def of(cls, spec: ImageSpec) -> Self:
        """Returns a data module that prepares images as ``spec`` states."""
        return cls(**asdict(spec))

    @staticmethod
    def options_for(state: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the arguments for a checkpoint's model, combined with the user's options of the training data module.

        Args:
            state: the data module's state in the checkpoint.
            options: the user's options. Folder, batch size and workers are kept; mean, standard deviation and image
                size override those of the checkpoint. A white level counts if the checkpoint has none.

        Raises:
            InputError: if an entry is missing in the checkpoint.
        """
        given = {name: options[name] for name in ("mean", "std") if options.get(name)}
        if not state.get("white_level") and options.get("white_level"):
            given["white_level"] = options["white_level"]
        if side := options.get("image_size"):
            given |= {"image_size": (side, side), "shorter_side": options.get("shorter_side") or side}
        kept = {name: options[name] for name in ("predict_folder", "batch_size", "num_workers") if name in options}
        return ImageSpec.from_dict({**state, **given}).to_dict() | kept

    @property
    def image_spec(self) -> ImageSpec:
        return self._spec

    def find_classes(self) -> tuple[str, ...]:
        return self._spec.class_names

    def sizes(self) -> tuple[int | None, int]:
        return self.image_size, self._spec.shorter_side

    def files(self, names: Iterable[str]) -> ImageFiles:
        # All files must have the trained size. The first file may have another or be damaged.
        return replace(super().files(names), expected_size=self._spec.image_size)

    def read(self, part: str) -> tuple[Any, Any]:
        raise InputError(f"there are no {part} images here; give the data that the model was trained on")
