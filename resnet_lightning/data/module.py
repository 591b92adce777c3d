"""The data module that every data set shares: splits, statistics, loaders, and what happens to a batch."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning import LightningDataModule
from torch import Tensor

from ..errors import InputError, did_you_mean
from .augment import Augmentation
from .decode import decode_images, list_images
from .draws import key
from .loader import BatchLoader, RawBatch, Split

# The test images as well before training, so that what is wrong with them is found now and not in the end.
_SPLITS_OF_STAGE = {"fit": ("train", "val", "test"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}


class ImageDataModule(LightningDataModule, ABC):
    """A data set of images that fits in memory.

    A data set is a subclass that says what its classes are called and reads its arrays; see ``DigitsDataModule`` for
    the shortest. The loaders yield raw uint8 batches; on the device, ``on_after_batch_transfer`` augments and
    normalises them, so that a training, validation or test batch is ``(images, targets)``: (B, C, H, W) float32 and
    (B,) int64. A prediction batch is ``(images, numbers)``, where the number counts the images from 0.

    The official test set is used for testing only. Validation images are split off the training set, the same share
    of each class, by a seed of their own: another ``seed_everything`` trains on the same images.

    Args:
        root: the folder that data sets are kept in, and downloaded to.
        batch_size: images a step, in each process.
        classes: keep only these classes, numbered from 0 in this order; all by default.
        val_split: the share of the training set that is kept for validation; 0 trains on everything.
        split_seed: decides which images those are.
        augment: what training batches go through.
        mean: of each channel, for pixels in [0, 1]; that of the training images by default.
        std: likewise.
        predict_folder: a folder of images for ``predict``; the test set by default.

    Raises:
        InputError: for a number out of range or a class that does not exist.
    """

    class_names: tuple[str, ...] = ()
    in_chans: ClassVar[int] = 3
    image_size: int | None = None
    known_statistics: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = None
    """Mean and standard deviation of each channel in [0, 1]; None measures them on the training images."""

    def __init__(
        self,
        root: str | os.PathLike[str] = "data",
        batch_size: int = 128,
        classes: Sequence[str | int] | None = None,
        val_split: float = 0.1,
        split_seed: int = 0,
        augment: Augmentation = Augmentation(),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        predict_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise InputError(f"data.batch_size is {batch_size}; a batch has at least one image")
        if not 0 <= val_split < 1:
            raise InputError(f"data.val_split is {val_split}; give a share from 0 up to, but not including, 1")
        for name, values in ("mean", mean), ("std", std):
            if values is not None and len(values) not in (1, self.in_chans):
                raise InputError(f"data.{name} has {len(values)} values; these images have {self.in_chans} channels")
        if std is not None and min(std) <= 0:
            raise InputError(f"data.std is {list(std)}; a standard deviation is larger than 0")
        self.root = Path(root)
        self.batch_size = batch_size
        self.val_split = val_split
        self.split_seed = split_seed
        self.augment = augment
        self.predict_folder = predict_folder
        self.predict_files: list[Path] | None = None
        self.all_classes = self.find_classes()
        self.class_names = self.all_classes if classes is None else self._choose(classes)
        self._mean = None if mean is None else torch.tensor(mean, dtype=torch.float32)
        self._std = None if std is None else torch.tensor(std, dtype=torch.float32)
        known = self.known_statistics
        self._usual_statistics = None if known is None else (torch.tensor(known[0]), torch.tensor(known[1]))
        self._scale: tuple[Tensor, ...] | None = None
        self._splits: dict[str, Split] = {}

    # What a data set says of itself.

    def find_classes(self) -> tuple[str, ...]:
        """The names of all classes of the data set, by label."""
        return self.class_names

    def download(self) -> None:
        """Brings the data set into ``root`` where it is not there already; called in one process on each machine."""

    @property
    def has_validation_set(self) -> bool:
        """Whether ``read("val")`` can be called; else validation images are split off the training set."""
        return False

    @abstractmethod
    def read(self, part: str) -> tuple[Any, Any]:
        """Reads one part of the data set.

        Args:
            part: ``"train"``, ``"test"`` or, with ``has_validation_set``, ``"val"``.

        Returns:
            Pixels (N, H, W, C) or (N, H, W) in uint8, and labels (N,), numbered as in ``all_classes``; arrays or
            tensors.

        Raises:
            InputError: where files are missing or damaged.
        """

    # Splits.

    @property
    def num_classes(self) -> int:
        """The number of classes that are kept."""
        return len(self.class_names)

    @property
    def seed(self) -> int:
        """What ``seed_everything`` was last called with, or 0: the seed of the order and of the augmentations."""
        return int(os.environ.get("PL_GLOBAL_SEED", "0"))

    def split(self, name: str) -> Split:
        """The images of ``"train"``, ``"val"``, ``"test"`` or ``"predict"``, read when they are first asked for.

        Raises:
            InputError: where the data set is missing or damaged.
        """
        if name not in self._splits:
            if name == "predict":
                self._splits[name] = self._read_for_prediction()
            elif name == "test" or self.has_validation_set:
                self._splits[name] = self._read_whole(name)
            else:
                self._splits["train"], self._splits["val"] = self._split_validation_off(self._read_whole("train"))
        return self._splits[name]

    def _read_whole(self, part: str) -> Split:
        images, labels = (torch.as_tensor(array) for array in self.read(part))
        if images.ndim == 3:
            images = images.unsqueeze(-1)
        labels = labels.long()
        if len(labels) != len(images):
            raise InputError(
                f"there are {len(images)} {part} images but {len(labels)} labels; they do not belong together"
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.all_classes):
            raise InputError(
                f"the {part} images have labels from {int(labels.min())} to {int(labels.max())}, "
                f"but there are {len(self.all_classes)} classes; the label file does not belong to this data set"
            )
        if self.class_names != self.all_classes:
            number = torch.full((len(self.all_classes),), -1)
            number[[self.all_classes.index(name) for name in self.class_names]] = torch.arange(self.num_classes)
            labels = number[labels]
            images, labels = images[labels >= 0], labels[labels >= 0]
        if not len(labels):
            raise InputError(f"there are no {part} images of the classes {', '.join(self.class_names)}")
        return Split(images.contiguous(), labels, torch.arange(len(labels)))

    def _split_validation_off(self, whole: Split) -> tuple[Split, Split]:
        """The same share of each class, at random."""
        shuffled = torch.randperm(len(whole), generator=torch.Generator().manual_seed(self.split_seed))
        held_out = torch.zeros(len(whole), dtype=torch.bool)
        for label in range(self.num_classes):
            members = shuffled[whole.targets[shuffled] == label]
            count = round(self.val_split * len(members))
            if self.val_split and len(members) > 1:
                count = max(count, 1)
            held_out[members[:count]] = True
        return replace(whole, indices=whole.indices[~held_out]), replace(whole, indices=whole.indices[held_out])

    def _read_for_prediction(self) -> Split:
        """The images to predict, with their own numbers for targets."""
        if self.predict_folder is None:
            images = self.split("test").images
        else:
            self.predict_files = list_images(Path(self.predict_folder))
            images = decode_images(self.predict_files, self.image_size, self.in_chans)
        numbers = torch.arange(len(images))
        return Split(images, numbers, numbers)

    def _choose(self, classes: Sequence[str | int]) -> tuple[str, ...]:
        chosen = tuple(str(name) for name in classes)
        for name in chosen:
            if name not in self.all_classes:
                raise InputError(f"unknown class {name!r} in data.classes; {did_you_mean(name, self.all_classes)}")
        if len(chosen) < 2 or len(set(chosen)) < len(chosen):
            raise InputError(f"data.classes is {list(chosen)}; name at least two classes, each once")
        return chosen

    # What Lightning asks for.

    def prepare_data(self) -> None:
        predicting = self.trainer is not None and self.trainer.state.fn == "predict"
        if not (predicting and self.predict_folder):
            self.download()

    def setup(self, stage: str) -> None:
        for name in _SPLITS_OF_STAGE[stage]:
            self.split(name)
        if stage == "fit" and not len(self._loader("train")):
            images = len(self.split("train"))
            among = (
                f" among {self.trainer.world_size} processes" if self.trainer and self.trainer.world_size > 1 else ""
            )
            raise InputError(
                f"data.batch_size is {self.batch_size}, too large for {images} training images{among}; give less"
            )

    def train_dataloader(self) -> BatchLoader:
        return self._loader("train")

    def val_dataloader(self) -> BatchLoader | list[BatchLoader]:
        return self._loader("val") if len(self.split("val")) else []

    def test_dataloader(self) -> BatchLoader:
        return self._loader("test")

    def predict_dataloader(self) -> BatchLoader:
        return self._loader("predict")

    def _loader(self, name: str) -> BatchLoader:
        trainer = self.trainer
        if trainer is None:
            return BatchLoader(self.split(name), self.batch_size, seed=self.seed if name == "train" else None)
        rank, world_size = trainer.global_rank, trainer.world_size
        if name != "train":
            return BatchLoader(self.split(name), self.batch_size, rank=rank, world_size=world_size)
        return BatchLoader(
            self.split(name),
            self.batch_size,
            seed=self.seed,
            epoch=lambda: trainer.current_epoch,
            # The steps of this epoch that are behind us: none, or those before a run was interrupted.
            start=lambda: trainer.fit_loop.epoch_loop.batch_progress.current.ready,
            rank=rank,
            world_size=world_size,
        )

    def on_after_batch_transfer(self, batch: RawBatch, dataloader_idx: int = 0) -> tuple[Tensor, Tensor]:
        """Augments a training batch and normalises any batch: to (B, C, H, W) float32 images and (B,) targets."""
        images = batch.images
        if batch.epoch is not None:
            images = self.augment(images, batch.indices, key(self.seed, batch.epoch))
        return self.normalise(images), batch.targets

    def normalise(self, images: Tensor) -> Tensor:
        """(B, C, H, W) pixels in [0, 255], uint8 or float, to float32 with mean 0 and standard deviation 1."""
        if self._scale is None or self._scale[0].device != images.device:  # copied once, not at every step
            mean, std = self.statistics()
            self._scale = tuple((255 * values).view(-1, 1, 1).to(images.device) for values in (mean, std))
        return (images - self._scale[0]) / self._scale[1]

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, for pixels in [0, 1]: given, known or measured."""
        if self._mean is not None and self._std is not None:
            return self._mean, self._std
        if self._usual_statistics is None:
            self._usual_statistics = _measure(self.split("train"))
        mean, std = self._usual_statistics
        return mean if self._mean is None else self._mean, std if self._std is None else self._std

    def state_dict(self) -> dict[str, Any]:
        mean, std = self.statistics()
        return {"class_names": list(self.class_names), "mean": mean.tolist(), "std": std.tolist()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the statistics that the checkpoint's net was trained with, unless others were given.

        Raises:
            InputError: where the checkpoint's net knows other classes.
        """
        if state_dict["class_names"] != list(self.class_names):
            raise InputError(
                f"the checkpoint was trained on the classes {', '.join(state_dict['class_names'])}, "
                f"but this data set has {', '.join(self.class_names)}"
            )
        self._usual_statistics = (torch.tensor(state_dict["mean"]), torch.tensor(state_dict["std"]))
        self._scale = None

    def __str__(self) -> str:  # Lightning's asks the loaders for data sets that ours do not have
        return f"{type(self).__name__}(root={str(self.root)!r}, {self.num_classes} classes)"


def _measure(split: Split) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over all pixels, exactly: from a histogram of their 256 values."""
    values = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in split.images[split.indices].unbind(-1):
        share = torch.bincount(channel.flatten(), minlength=256).double()
        share /= share.sum()
        mean = (share * values).sum()
        means.append(mean)
        deviations.append((share * (values - mean) ** 2).sum().sqrt())
    std = torch.stack(deviations).float()
    return torch.stack(means).float(), torch.where(std > 0, std, 1.0)  # a channel of one value has nothing to scale
