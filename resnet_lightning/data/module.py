"""The data module that all data sets share: the hooks that Lightning calls."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from lightning import LightningDataModule, Trainer
from lightning.pytorch.trainer.states import TrainerStatus
from torch import Tensor

from ..errors import InputError
from .augmentation import Augmentation
from .corruptions import Corruption
from .fingerprint import TrainedImages, fingerprint_of
from .image_spec import ImageSpec
from .loading.files import FileNames, ImageFiles, cores, images_at
from .loading.finish import Finish
from .loading.images import ImageDataset, ImageLoader
from .loading.on_device import DeviceLoader
from .loading.order import Order
from .loading.placement import Placement
from .loading.resident import BatchLoader
from .loading.streaming import StreamLoader, Streams
from .normalization import Normalization, Statistics, measure
from .read_check import check_class_names, check_read
from .splits import Classes, Holdout, Split, classes_in_words

_CPU = torch.device("cpu")

# Training reads the test images as well, so that an error in them is found before the training, not after.
_SPLITS_OF_STAGE = {"fit": ("train", "val", "test"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}


class ImageDataModule(LightningDataModule, ABC):
    """A data set of images.

    Each data set is a subclass that lists its classes and reads its arrays; see ``DigitsDataModule`` for an example.
    The images are kept in memory once, as uint8, on the accelerator if they fit. A training, validation or test batch
    is ``(images, targets)``: (B, C, H, W) float32 and (B,) int64. With mixup or cutmix, training targets are
    probabilities (B, num_classes) float32. A prediction batch is ``(images, numbers)``, where the numbers count the
    images from 0.

    A Trainer that is given this data module gets loaders that augment and normalize whole batches on its device.
    Without one, the loaders are ``DataLoader``s of torch that yield the same batches on the CPU, for any training loop.

    The order of the images is a function of (seed, epoch). An image's augmentation is a function of (seed, epoch,
    index). Neither depends on the number of processes or workers, or on where a run was interrupted.

    The official test set is used for testing only. Validation images are held out of the training set, the same share
    of each class. They are chosen by ``split_seed``, so that runs with another ``seed_everything`` train on the same
    images.

    Args:
        root: the folder of the data sets; missing ones are downloaded to it.
        batch_size: images per step, in each process.
        classes: keep only these classes, numbered from 0 in this order; all by default.
        val_split: the share of the training set that is held out for validation; 0 trains on everything.
        split_seed: the seed of all random choices of images: validation split, folds and training fraction.
        num_folds: for cross-validation: cut the training set into this many equal parts and validate on one of them,
            instead of on ``val_split``; 0 for none.
        fold: which part that is, counted from 0.
        train_fraction: train on this share of each class, of the images that are not held out; the images of a smaller
            share are a subset of those of a larger one.
        augment: the augmentation of training batches; in Python also a mapping of its options, a torchvision v2
            transform, or another callable.
        mean: of each channel, for pixels in [0, 1]; that of the training images by default.
        std: likewise.
        resident: where the images are kept: ``device``, on the accelerator; ``cpu``, in the machine's memory;
            ``false``, in their files, for image folders. ``auto`` uses the first of these where they fit; image folders
            with random resized crops are always read from their files.
        predict_folder: the images for ``predict``: a folder, an image file or a list of these; the test set by default.
        sampling: ``balanced`` trains on equally many images of each class in an epoch, which has as many images as
            before. Those of small classes are repeated, with other augmentations each time; of large classes, every
            epoch takes other images. None trains on every image once.

    Raises:
        InputError: for a number out of range or a class that does not exist.
    """

    class_names: tuple[str, ...] = ()
    in_chans: int = 3
    image_size: int | None = None
    can_stream: ClassVar[bool] = False
    """Whether ``read`` may return ``ImageFiles`` instead of an array."""
    num_workers: int | None = None
    on_error: str = "raise"
    white_level: float | None = None
    """The pixel value of white in grey image files of more than 8 bits; None if there are none."""
    multilabel: bool = False
    """Whether an image may have several of the classes, or none. Its target is then (K,) float32, 1 for each."""
    known_statistics: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = None
    """Mean and standard deviation of each channel in [0, 1]; None measures them on the training images."""

    def __init__(
        self,
        root: str | os.PathLike[str] = "data",
        batch_size: int = 128,
        classes: Sequence[str | int] | None = None,
        val_split: float = 0.1,
        split_seed: int = 0,
        num_folds: int = 0,
        fold: int = 0,
        train_fraction: float = 1.0,
        augment: Augmentation = Augmentation(),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        resident: bool | str = "auto",
        predict_folder: Sequence[str] | str | os.PathLike[str] | None = None,
        sampling: Literal["balanced"] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise InputError(f"data.batch_size is {batch_size}; a batch has at least one image")
        if resident is False and not self.can_stream:
            raise InputError(
                f"data.resident is false, but {type(self).__name__} has no files to read one by one; "
                "give auto, cpu or device"
            )
        if sampling and self.multilabel:
            raise InputError(
                f"data.sampling is {sampling}, which needs one label for each image; leave it out, and give "
                "model.class_weights: balanced"
            )
        if sampling not in (None, "balanced"):
            raise InputError(f"data.sampling is {sampling!r}; give balanced, or null for every image once")
        self.root = Path(root)
        self.batch_size = batch_size
        self.sampling = sampling
        self.augment = augment = Augmentation.of(augment)
        self.predict_folder = predict_folder
        self.predict_files: list[Path] | None = None
        self.holdout = Holdout(val_split, num_folds, fold, train_fraction, split_seed)
        self.placement = Placement(resident)
        self._normalization = Normalization(self.in_chans, mean, std, self.known_statistics)
        self._classes = Classes.choose(check_class_names(type(self).__name__, self.find_classes()), classes)
        self.all_classes, self.class_names = self._classes.all_names, self._classes.names
        augment.check_images(self.in_chans, self.image_size if augment.depends_on_size else None)
        self._transform = augment.make_transform(len(self.class_names))
        self._splits: dict[str, Split] = {}
        self._readable: dict[str, Tensor] = {}  # by part, where unreadable files are skipped: (N,) bool
        self._streams = Streams()
        self._steps_before: int | None = None  # that the run has trained before this process
        self._trained_images = TrainedImages()
        self.indices = torch.arange(0)  # (B,) the newest batch: the images' numbers in the data set

    # What a data set overrides.

    def folders(self) -> Sequence[Path]:
        """Returns the folders that the images are read from; none if they come with the package."""
        return [self.root] if type(self).download is not ImageDataModule.download else []

    def find_classes(self) -> tuple[str, ...]:
        """Returns the names of all classes of the data set, by label."""
        return self.class_names

    def download(self) -> None:
        """Downloads the data set to ``root`` if it is missing; called in one process on each machine."""

    @property
    def has_validation_set(self) -> bool:
        """Whether ``read("val")`` is supported; if not, validation images are held out of the training set."""
        return False

    def sizes(self) -> tuple[int | None, int]:
        """The side of the images, and the length to which a file's shorter side is scaled before its centre is cropped.

        The side is None for images that are not square.
        """
        return self.image_size, self.image_size or 0

    def name_of(self, part: str, index: int) -> str:
        """Returns an image's file name, or its number among the images of the kept classes if there are no files."""
        return str(index)

    def groups(self) -> Tensor | None:
        """Returns which images of ``read("train")`` belong together, (N,) int64, so that none is held out alone.

        None if each stands for itself.
        """
        return None

    def files_of(self, part: str) -> FileNames | None:
        """Returns the files of the images of ``read(part)``, once they are read; None if each has no file."""
        images = self.split(part).images
        return None if isinstance(images, Tensor) else images.names

    def fingerprint_of(self, part: str) -> str:
        """Returns 32 hexadecimal digits that identify the images and labels of a part."""
        return fingerprint_of(self.split(part), self.files_of(part))

    def files(self, names: Iterable[str]) -> ImageFiles:
        """Returns images in any folder, which are scaled and cropped like those of the data set."""
        return ImageFiles(FileNames(names), *self.sizes(), self.in_chans, white_level=self.white_level)

    @abstractmethod
    def read(self, part: str) -> tuple[Any, Any]:
        """Reads one part of the data set.

        Args:
            part: ``"train"``, ``"test"`` or, with ``has_validation_set``, ``"val"``.

        Returns:
            Pixels (N, H, W, C) or (N, H, W) in uint8, and labels (N,), numbered as in ``all_classes``; arrays or
            tensors. With ``can_stream``, also ``ImageFiles`` instead of pixels.

        Raises:
            InputError: if files are missing or damaged.
        """

    def pixels_to_measure(self, split: Split) -> tuple[Tensor, Tensor]:
        """Returns images (N, H, W, C) uint8, and the numbers (n,) of those on which mean and std are measured."""
        assert isinstance(split.images, Tensor)
        return split.images, split.indices

    # Splits.

    @property
    def validates(self) -> bool:
        """Whether there are validation images."""
        return self.holdout.holds_out or self.has_validation_set

    @property
    def num_classes(self) -> int:
        """The number of classes that are kept."""
        return len(self.class_names)

    @property
    def class_counts(self) -> Tensor:
        """The number of training images of each class (num_classes,) int64."""
        train = self.split("train")
        if train.targets.ndim == 2:
            return train.targets[train.indices].sum(0).long()
        return train.targets[train.indices].bincount(minlength=self.num_classes)

    @property
    def num_training_images(self) -> int:
        """The number of images that are trained on."""
        return len(self.split("train"))

    @property
    def seed(self) -> int:
        """The last seed of ``seed_everything``, or 0: the seed of the order and of the augmentations."""
        return int(os.environ.get("PL_GLOBAL_SEED", "0"))

    def split(self, name: str) -> Split:
        """Returns the images of ``"train"``, ``"val"``, ``"test"`` or ``"predict"``, read when first needed.

        Raises:
            InputError: if the data set is missing or damaged.
        """
        if name not in self._splits:
            if name == "predict":
                self._splits[name] = self._read_for_prediction()
            elif name == "test" or (name == "val" and self.has_validation_set):
                self._splits[name] = self._without_unreadable(self._read_whole(name), name)
            else:
                train, val = self.holdout.split(self._read_whole("train"), self.has_validation_set, self.groups())
                self._splits["train"] = self._without_unreadable(train, "train")
                if not self.has_validation_set:
                    self._splits["val"] = self._without_unreadable(val, "train")
        return self._splits[name]

    def shared_images(self) -> str:
        """Returns a line about images in several splits; empty if there are none, or if looking costs much."""
        return ""

    def in_words(self) -> str:
        """Returns the classes, the numbers of images and their folders in one line."""
        sizes = {name: len(self.split(name)) for name in ("train", "val", "test")}
        counts = ", ".join(f"{name} {size:,}" for name, size in sizes.items() if size)
        folders = ", ".join(dict.fromkeys(map(str, self.folders())))
        return f"{classes_in_words(self.class_names)}; {counts} images" + (f" from {folders}" if folders else "")

    def _read_whole(self, part: str) -> Split:
        call, side = f"{type(self).__name__}.read({part!r})", self.image_size
        images, labels = check_read(
            call,
            self.read(part),
            self.all_classes,
            self.in_chans,
            side,
            can_stream=self.can_stream,
            multilabel=self.multilabel,
        )
        return self._classes.select(part, images, labels)

    def _without_unreadable(self, split: Split, part: str) -> Split:
        """Removes unreadable images. Called after splitting, so that a damaged file moves no other image."""
        return split.only(self._readable[part]) if part in self._readable else split

    def _read_for_prediction(self) -> Split:
        """The images to predict; their targets are their numbers."""
        if self.predict_folder is None:
            test = self.split("test")
            return replace(test, targets=torch.arange(len(test.targets)))
        self.predict_files = [Path(name) for name in images_at(self.predict_folder)]
        files = self.files(map(str, self.predict_files))
        numbers = torch.arange(len(files))
        return Split(files, numbers, numbers)

    # Hooks: preparation.

    def prepare_data(self) -> None:
        predicting = self.trainer is not None and self.trainer.state.fn == "predict"
        if not (predicting and self.predict_folder):
            self.download()

    def setup(self, stage: str | None = None) -> None:
        self._steps_before = None
        for name in _SPLITS_OF_STAGE[stage or "fit"]:
            self.split(name)
        if stage in (None, "fit"):
            self._check_training_images(self.split("train"))

    def _check_training_images(self, train: Split) -> None:
        self._trained_images.check(train, self.files_of("train"))
        self.augment.check_images(self.in_chans, min(train.images.shape[-3:-1]))
        if not len(self._order("train")):
            processes = self.trainer.world_size if self.trainer else 1
            among = f" among {processes} processes" if processes > 1 else ""
            raise InputError(
                f"data.batch_size is {self.batch_size}, too large for {len(train)} training images{among}; give less"
            )

    # Hooks: loaders.

    def train_dataloader(self) -> DeviceLoader | ImageLoader:
        return self._dataloader("train")

    def val_dataloader(self) -> DeviceLoader | ImageLoader | list[ImageLoader]:
        return self._dataloader("val") if len(self.split("val")) else []

    def test_dataloader(self) -> DeviceLoader | ImageLoader:
        return self._dataloader("test")

    def predict_dataloader(self) -> DeviceLoader | ImageLoader:
        return self._dataloader("predict")

    def _dataloader(self, name: str) -> DeviceLoader | ImageLoader:
        if trainer := self._running_trainer:
            return self.device_loader(name, trainer.strategy.root_device)
        raw = self._make_raw_loader(name, _CPU)
        return ImageLoader.of(ImageDataset(raw, self.finish), getattr(raw, "num_workers", 0))

    def device_loader(self, name: str, device: torch.device, corruption: Corruption | None = None) -> DeviceLoader:
        """Returns the loader of a split that a Trainer gets, which finishes its batches on ``device``.

        Without a running Trainer, every iteration is epoch 0.

        Args:
            name: ``train``, ``val``, ``test`` or ``predict``.
            device: the device of the batches.
            corruption: corrupts the images, except in training.
        """
        finish = replace(self.finish, corruption=corruption)
        return DeviceLoader(self.raw_loader(name, device), finish, device, self._announce)

    def _announce(self, indices: Tensor) -> None:
        self.indices = indices

    def raw_loader(self, name: str, device: torch.device = _CPU) -> BatchLoader | StreamLoader:
        """Returns the loader of a split's raw batches, which ``finish`` augments and normalizes."""
        raw = self._make_raw_loader(name, device)
        return self._streams.add(name, raw) if isinstance(raw, StreamLoader) else raw

    @property
    def finish(self) -> Finish:
        """Augments and normalizes raw batches."""
        return Finish(self.augment, self.normalization, self.seed, self.num_classes, self._transform)

    def _order(self, name: str) -> Order:
        trainer, split = self._running_trainer, self.split(name)
        return Order(
            split.indices,
            self.batch_size,
            seed=self.seed if name == "train" else None,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            classes=split.targets if name == "train" and self.sampling else None,
            pairs=name == "train" and self.augment.mixes,
        )

    def _order_of(self, epoch: int) -> int:
        """The epoch whose order is used: with ``overfit_batches`` every epoch repeats epoch 0."""
        trainer: Any = self.trainer
        return 0 if getattr(trainer, "overfit_batches", 0) else epoch

    def training_indices(self, epoch: int, batch_idx: int) -> list[int]:
        """Returns the numbers, in the data set, of the images that this process trains on in a step."""
        step = next(self._order("train").steps(self._order_of(epoch), batch_idx))
        return (step.indices[: self.batch_size] % len(self.split("train").targets)).tolist()

    @property
    def _running_trainer(self) -> Trainer | None:
        """The Trainer that iterates over the loaders now; after its run, they belong to the user again."""
        running = self.trainer is not None and self.trainer.state.status == TrainerStatus.RUNNING
        return self.trainer if running else None

    def _current_epoch(self) -> int:
        trainer = self._running_trainer
        return self._order_of(trainer.current_epoch) if trainer else 0

    def _first_step(self) -> int:
        """The number of steps that an interrupted run has already trained in the epoch that is resumed."""
        trainer: Any = self._running_trainer
        loop = trainer.fit_loop.epoch_loop if trainer else None
        if loop is None:
            return 0
        # Only until the run trains its first step. A callback may also take batches later.
        progress = loop.batch_progress
        if self._steps_before is None:
            self._steps_before = progress.total.ready
        return progress.current.ready if progress.total.ready == self._steps_before else 0

    def _make_raw_loader(self, name: str, device: torch.device) -> BatchLoader | StreamLoader:
        split, order = self.split(name), self._order(name)
        trains = name == "train" and self._running_trainer is not None
        epoch, start = (self._current_epoch, self._first_step) if trains else (_zero, _zero)
        if isinstance(split.images, Tensor):
            images = self.placement.place(split.images, device)
            return BatchLoader(images, split.targets, order, epoch, start).cropping(
                self.augment, self.seed, self._processes
            )
        return StreamLoader(
            split.images,
            split.targets,
            order,
            augment=self.augment,
            seed=self.seed,
            pin_memory=device.type == "cuda",
            epoch=epoch,
            start=start,
            on_error="skip" if name == "predict" else self.on_error,  # a prediction folder may hold anything
            num_workers=self._workers_for(order),
            unreadable=self._streams.unreadable,
        )

    @property
    def _processes(self) -> int:
        """The number of processes that train on this machine."""
        return self.trainer.num_devices if self.trainer else 1

    def _workers_for(self, order: Order) -> int:
        """The number of processes that read files: none for a single batch, which this process reads just as fast."""
        default = max(min(cores() // self._processes, 16), 1) if len(order) > 1 else 0
        return default if self.num_workers is None else self.num_workers

    # Normalization.

    def normalize(self, images: Tensor) -> Tensor:
        """(B, C, H, W) pixels in [0, 255], uint8 or float, to float32 with mean 0 and standard deviation 1."""
        return self.normalization.normalize(images)

    def to_pixels(self, images: Tensor) -> Tensor:
        """Normalized images (B, C, H, W) to pixels (B, H, W, 1 or 3) uint8 that can be shown."""
        return self.normalization.to_pixels(images)

    def statistics(self) -> Statistics:
        """Mean and standard deviation of each channel, for pixels in [0, 1]: given, known or measured."""
        return self.normalization.statistics()

    @property
    def normalization(self) -> Normalization:
        """Mean and standard deviation, measured when first needed, and the normalization by them."""
        if not self._normalization.is_set:
            self._normalization.set(*measure(*self.pixels_to_measure(self.split("train"))))
        return self._normalization

    # Hooks: the end, and checkpoints.

    @property
    def unreadable(self) -> set[str]:
        """The files that this process could not read and has skipped since the stage began."""
        return set(self._streams.unreadable)

    def on_exception(self, exception: BaseException) -> None:
        # Lightning does not call `teardown` then, and each running worker would delay the exit by five seconds.
        self._streams.close()

    def teardown(self, stage: str) -> None:
        self._streams.end()

    @property
    def image_spec(self) -> ImageSpec:
        """How images are prepared. A checkpoint stores it, so that other images can be prepared in the same way."""
        mean, std = self.statistics()
        side, shorter_side = self.sizes()
        height, width = (side, side) if side else self.split("train").images.shape[-3:-1]
        return ImageSpec(
            class_names=self.class_names,
            in_chans=self.in_chans,
            image_size=(height, width),
            shorter_side=shorter_side or min(height, width),
            mean=tuple(mean.tolist()),
            std=tuple(std.tolist()),
            white_level=self.white_level,
            multilabel=self.multilabel or None,
        )

    def state_dict(self) -> dict[str, Any]:
        return {**self.image_spec.to_dict(), **self._trained_images.state_dict(self._splits.get("train"))}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores mean and standard deviation from the checkpoint, unless the user gave others.

        Training can be resumed only on the same images.

        Raises:
            InputError: if the checkpoint's model has other classes.
        """
        if state_dict["class_names"] != list(self.class_names):
            raise InputError(
                f"the checkpoint was trained on the classes {', '.join(state_dict['class_names'])}, "
                f"but this data set has {', '.join(self.class_names)}"
            )
        if (before := state_dict.get("white_level")) and self.white_level not in (None, before):
            raise InputError(
                f"the checkpoint was trained on images whose white is {before:g}, but it is {self.white_level:g} here; "
                f"give --data.white_level {before:g}"
            )
        self._normalization.set(torch.tensor(state_dict["mean"]), torch.tensor(state_dict["std"]))
        self._trained_images.load_state_dict(state_dict)

    def __str__(self) -> str:  # Lightning's version needs loaders with a `dataset` attribute
        return f"{type(self).__name__}(root={str(self.root)!r}, {self.num_classes} classes)"


def _zero() -> int:
    return 0
