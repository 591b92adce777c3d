"""The data module that every data set shares: splits, statistics, loaders, and what happens to a batch."""

import logging
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning import LightningDataModule
from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor

from ..errors import InputError, did_you_mean
from .augmentation import Augmentation
from .augmentation.draws import Draws
from .augmentation.geometry import Canvas
from .loading.files import FileNames, ImageFiles, cores, list_images
from .loading.memory import fits, in_words
from .loading.resident import BatchLoader, Order, RawBatch
from .loading.streaming import StreamLoader, Streams
from .splits import Split, fraction, held_out, one_fold

_log = logging.getLogger(__name__)

_NOTHING = Augmentation()

# The test images as well before training, so that what is wrong with them is found now and not in the end.
_SPLITS_OF_STAGE = {"fit": ("train", "val", "test"), "validate": ("val",), "test": ("test",), "predict": ("predict",)}


class ImageDataModule(LightningDataModule, ABC):
    """A data set of images.

    A data set is a subclass that says what its classes are called and reads its arrays; see ``DigitsDataModule`` for
    the shortest. The images lie in memory once, as uint8, on the accelerator where they fit; the loaders yield raw
    batches of them without worker processes, and ``on_after_batch_transfer`` augments and normalises them on the
    device, so that a training, validation or test batch is ``(images, targets)``: (B, C, H, W) float32 and (B,) int64;
    with mixup or cutmix, training targets are probabilities (B, num_classes) float32. A prediction batch is
    ``(images, numbers)``, where the number counts the images from 0.

    The order of the images is a function of (seed, epoch), an image's augmentation one of (seed, epoch, its index):
    how many processes or workers there are, and where a run was interrupted, changes neither.

    The official test set is used for testing only. Validation images are split off the training set, the same share
    of each class, by a seed of their own: another ``seed_everything`` trains on the same images.

    Args:
        root: the folder that data sets are kept in, and downloaded to.
        batch_size: images a step, in each process.
        classes: keep only these classes, numbered from 0 in this order; all by default.
        val_split: the share of the training set that is kept for validation; 0 trains on everything.
        split_seed: decides which images those are, and all others that are chosen at random once and for all.
        num_folds: for cross-validation: cut the training set into so many equal parts and validate on one of them,
            instead of on ``val_split``; 0 for none.
        fold: which part that is, counted from 0.
        train_fraction: train on this share of each class of what validation leaves; a smaller share is a part of a
            larger one.
        augment: what training batches go through.
        mean: of each channel, for pixels in [0, 1]; that of the training images by default.
        std: likewise.
        resident: where the images lie: ``auto`` on the accelerator where they fit, else in the machine's memory
            (``cpu``); ``device`` insists; ``false`` reads them from files as they are needed, where there are files.
            ``auto`` reads from files those that do not fit, and those of which random resized crops are taken.
        predict_folder: a folder of images for ``predict``; the test set by default.

    Raises:
        InputError: for a number out of range or a class that does not exist.
    """

    class_names: tuple[str, ...] = ()
    in_chans: ClassVar[int] = 3
    image_size: int | None = None
    can_stream: ClassVar[bool] = False
    """Whether ``read`` may give ``ImageFiles`` instead of an array."""
    num_workers: int | None = None
    on_error: str = "raise"
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
        predict_folder: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise InputError(f"data.batch_size is {batch_size}; a batch has at least one image")
        if not 0 <= val_split < 1:
            raise InputError(f"data.val_split is {val_split}; give a share from 0 up to, but not including, 1")
        if num_folds < 0 or num_folds == 1:
            raise InputError(f"data.num_folds is {num_folds}; give at least 2, or 0 for no cross-validation")
        if not 0 <= fold < max(num_folds, 1):
            folds = f"there are the folds 0 to {num_folds - 1}" if num_folds else "it needs data.num_folds"
            raise InputError(f"data.fold is {fold}; {folds}")
        if not 0 < train_fraction <= 1:
            raise InputError(f"data.train_fraction is {train_fraction}; give a share larger than 0 and up to 1")
        if resident not in ("auto", "cpu", "device", False):
            raise InputError(f"data.resident is {resident!r}; give auto, cpu, device or false")
        if resident is False and not self.can_stream:
            raise InputError(
                f"data.resident is false, but {type(self).__name__} has no files to read one by one; "
                "give auto, cpu or device"
            )
        for name, values in ("mean", mean), ("std", std):
            if values is not None and len(values) not in (1, self.in_chans):
                raise InputError(f"data.{name} has {len(values)} values; these images have {self.in_chans} channels")
            if values is not None and not all(map(math.isfinite, values)):
                raise InputError(f"data.{name} is {list(values)}; give finite numbers")
        if std is not None and min(std) <= 0:
            raise InputError(f"data.std is {list(std)}; a standard deviation is larger than 0")
        self.root = Path(root)
        self.batch_size = batch_size
        self.val_split = val_split
        self.split_seed = split_seed
        self.num_folds = num_folds
        self.fold = fold
        self.train_fraction = train_fraction
        self.resident = resident
        self.augment = augment
        self.predict_folder = predict_folder
        self.predict_files: list[Path] | None = None
        self.all_classes = self.find_classes()
        self.class_names = self.all_classes if classes is None else self._choose(classes)
        augment.check_images(self.in_chans, self.image_size if augment.pad == "reflect" else None)
        self._mean = None if mean is None else torch.tensor(mean, dtype=torch.float32)
        self._std = None if std is None else torch.tensor(std, dtype=torch.float32)
        known = self.known_statistics
        self._usual_statistics = None if known is None else (torch.tensor(known[0]), torch.tensor(known[1]))
        self._scale: tuple[Tensor, ...] | None = None
        self._splits: dict[str, Split] = {}
        self._placed: dict[tuple[int, torch.device], Tensor] = {}
        self.indices = torch.arange(0)  # the numbers, in the data set, of the images of the batch that was made last
        self._streams = Streams()
        self._trained_on: int | None = None  # how many images the checkpoint's net has seen
        self._readable: dict[str, Tensor] = {}  # of parts that were read, which of their images could be

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

    def sizes(self) -> tuple[int | None, int]:
        """The side of the images, and what the shorter side of a file is scaled to before the middle is cut out."""
        return self.image_size, self.image_size or 0

    def name_of(self, part: str, index: int) -> str:
        """What a person finds an image by: its file, or else its number among those of the classes that are kept."""
        return str(index)

    def files(self, names: Iterable[str]) -> ImageFiles:
        """Images of any origin, read as those of the data set are."""
        return ImageFiles(FileNames(names), *self.sizes(), self.in_chans)

    @abstractmethod
    def read(self, part: str) -> tuple[Any, Any]:
        """Reads one part of the data set.

        Args:
            part: ``"train"``, ``"test"`` or, with ``has_validation_set``, ``"val"``.

        Returns:
            Pixels (N, H, W, C) or (N, H, W) in uint8, and labels (N,), numbered as in ``all_classes``; arrays or
            tensors. With ``can_stream``, also ``ImageFiles`` instead of pixels.

        Raises:
            InputError: where files are missing or damaged.
        """

    # Splits.

    @property
    def validates(self) -> bool:
        """Whether training keeps images for validation."""
        return bool(self.val_split or self.num_folds or self.has_validation_set)

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
            elif name == "test" or (name == "val" and self.has_validation_set):
                self._splits[name] = self._without_unreadable(self._read_whole(name), name)
            else:
                train, val = self._split_validation_off(self._read_whole("train"))
                self._splits["train"] = self._without_unreadable(train, "train")
                if not self.has_validation_set:
                    self._splits["val"] = self._without_unreadable(val, "train")
        return self._splits[name]

    def _without_unreadable(self, split: Split, part: str) -> Split:
        """Taken out after the splitting, so that a file that breaks moves no other from one split to another."""
        if part not in self._readable:
            return split
        return replace(split, indices=split.indices[self._readable[part][split.indices]])

    def _read_whole(self, part: str) -> Split:
        images, labels = self.read(part)
        labels = torch.as_tensor(labels).long()
        if not isinstance(images, ImageFiles):
            images = torch.as_tensor(images)
            images = (images.unsqueeze(-1) if images.ndim == 3 else images).contiguous()
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
            if not isinstance(images, ImageFiles):  # of files, those of other classes are never listed
                images = images[labels >= 0]
            labels = labels[labels >= 0]
        if not len(labels):
            raise InputError(f"there are no {part} images of the classes {', '.join(self.class_names)}")
        return Split(images, labels, torch.arange(len(labels)))

    def _split_validation_off(self, whole: Split) -> tuple[Split, Split]:
        labels = whole.targets
        if self.num_folds:
            if self.has_validation_set:
                raise InputError("data.num_folds is for data without validation images of its own, and here are some")
            if self.num_folds > len(whole):
                raise InputError(f"data.num_folds is {self.num_folds}, and there are {len(whole)} training images")
            for_val = one_fold(labels, self.num_folds, self.fold, self.split_seed)
        elif self.val_split and not self.has_validation_set:
            for_val = held_out(labels, self.val_split, self.split_seed)
        else:
            for_val = torch.zeros(len(whole), dtype=torch.bool)
        for_training = ~for_val
        if self.train_fraction < 1:
            for_training = fraction(labels, for_training, self.train_fraction, self.split_seed)
        return replace(whole, indices=whole.indices[for_training]), replace(whole, indices=whole.indices[for_val])

    def _read_for_prediction(self) -> Split:
        """The images to predict, with their own numbers for targets."""
        if self.predict_folder is None:
            test = self.split("test")
            return replace(test, targets=torch.arange(len(test.targets)))
        self.predict_files = [Path(name) for name in list_images(Path(self.predict_folder))]
        files = self.files(map(str, self.predict_files))
        numbers = torch.arange(len(files))
        return Split(files, numbers, numbers)

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
        if stage == "fit" and self._trained_on not in (None, len(self.split("train"))):
            raise InputError(
                f"the checkpoint was trained on {self._trained_on} images, and here are {len(self.split('train'))}; "
                "to fine-tune on other images, give its path as --model.backbone_args.pretrained"
            )
        if stage == "fit":
            self.augment.check_images(self.in_chans, min(self.split("train").images.shape[-3:-1]))
        if stage == "fit" and not len(self._order("train")):
            images = len(self.split("train"))
            among = (
                f" among {self.trainer.world_size} processes" if self.trainer and self.trainer.world_size > 1 else ""
            )
            raise InputError(
                f"data.batch_size is {self.batch_size}, too large for {images} training images{among}; give less"
            )

    def train_dataloader(self) -> BatchLoader | StreamLoader:
        return self._loader("train")

    def val_dataloader(self) -> BatchLoader | StreamLoader | list[BatchLoader]:
        return self._loader("val") if len(self.split("val")) else []

    def test_dataloader(self) -> BatchLoader | StreamLoader:
        return self._loader("test")

    def predict_dataloader(self) -> BatchLoader | StreamLoader:
        return self._loader("predict")

    def _order(self, name: str) -> Order:
        return Order(
            self.split(name).indices,
            self.batch_size,
            seed=self.seed if name == "train" else None,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
            pairs=name == "train" and self.augment.mixes,
        )

    def _loader(self, name: str) -> BatchLoader | StreamLoader:
        trainer, split, order = self.trainer, self.split(name), self._order(name)
        if trainer is None or name != "train":
            return self.make_loader(split, order, lambda: 0, lambda: 0)
        # The steps of this epoch that are behind us: none, or those before a run was interrupted.
        progress = trainer.fit_loop.epoch_loop.batch_progress
        return self.make_loader(
            split, order, lambda: self._order_of(trainer.current_epoch), lambda: progress.current.ready
        )

    def _order_of(self, epoch: int) -> int:
        """The epoch whose order it takes: with ``overfit_batches`` the same images come in every one."""
        trainer: Any = self.trainer
        return 0 if getattr(trainer, "overfit_batches", 0) else epoch

    def training_indices(self, epoch: int, batch_idx: int) -> list[int]:
        """Which images this process trains on in a step: their numbers in the data set."""
        step = next(self._order("train").steps(self._order_of(epoch), batch_idx))
        return step.indices[: self.batch_size].tolist()

    def make_loader(
        self, split: Split, order: Order, epoch: Callable[[], int], start: Callable[[], int]
    ) -> BatchLoader | StreamLoader:
        """A loader of these images; see ``BatchLoader`` for the arguments."""
        if isinstance(split.images, ImageFiles):
            stream = StreamLoader(
                split.images,
                split.targets,
                order,
                augment=self.augment,
                seed=self.seed,
                pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
                epoch=epoch,
                start=start,
                # What is asked of a folder of any origin is never a reason to stop.
                on_error="skip" if split is self._splits.get("predict") else self.on_error,
                num_workers=self._workers_for(order),
                unreadable=self._streams.unreadable,
            )
            return self._streams.add(split, stream)
        images = self._place(split.images)
        loader = BatchLoader(images, split.targets, order, epoch, start)
        size = Canvas.nbytes(images, self.augment.crop) * self._processes
        if order.seed is None or not self.augment.moves_whole_pixels or not fits(images.device, 4 * size):
            return loader
        # Cropped and mirrored while they are gathered: one copy of the pixels instead of five.
        canvas = Canvas(images, self.augment.crop, self.augment.pad)

        def take(indices: Tensor, epoch: int) -> Tensor:
            return canvas.cut(indices.numpy(), *self.augment.shifts(Draws(indices, self.seed, epoch)))

        return replace(loader, take=take, done=("crop", "flip"))

    @property
    def _processes(self) -> int:
        """How many processes train on this machine."""
        return self.trainer.num_devices if self.trainer else 1

    def _workers_for(self, order: Order) -> int:
        """How many processes read files: one batch is read as fast by this one."""
        usual = max(min(cores() // self._processes, 16), 1) if len(order) > 1 else 0
        return usual if self.num_workers is None else self.num_workers

    def _place(self, images: Tensor) -> Tensor:
        """Moves the images of a data set to where they are to lie; once for all its splits."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device.type == "cpu" or self.resident == "cpu":
            return images
        if (id(images), device) not in self._placed:
            if self.resident == "auto" and not fits(device, images.nbytes):
                self._say(f"{in_words(images.nbytes)} of images stay in the machine's memory: too large for {device}")
                return images
            try:
                self._placed[id(images), device] = images.to(device)
            except torch.OutOfMemoryError as error:
                raise InputError(
                    f"data.resident is device, and {in_words(images.nbytes)} of images do not fit there; give auto"
                ) from error
            self._say(f"{in_words(images.nbytes)} of images lie on {device}")
        return self._placed[id(images), device]

    @rank_zero_only
    def _say(self, line: str) -> None:
        _log.info(line)

    def transfer_batch_to_device(self, batch: RawBatch, device: torch.device, dataloader_idx: int) -> RawBatch:
        """Moves what is needed on the device; random numbers are drawn on the CPU, by the images' indices."""
        self.indices = batch.indices
        images, targets = (values.to(device, non_blocking=True) for values in (batch.images, batch.targets))
        return batch._replace(images=images, targets=targets)

    def on_after_batch_transfer(self, batch: RawBatch, dataloader_idx: int = 0) -> tuple[Tensor, Tensor]:
        """Augments a training batch and normalises any batch: to images (B, C, H, W) float32 and targets."""
        to_do = self.augment.without(batch.done)
        if batch.epoch is None or to_do == _NOTHING:
            return self.normalize(batch.images), batch.targets
        return to_do(
            batch.images,
            batch.targets,
            Draws(batch.indices, self.seed, batch.epoch),
            self.normalize,
            others=batch.others,
            num_classes=self.num_classes,
        )

    def normalize(self, images: Tensor) -> Tensor:
        """(B, C, H, W) pixels in [0, 255], uint8 or float, to float32 with mean 0 and standard deviation 1."""
        pixels = images.permute(0, 2, 3, 1)
        if self._scale is None or self._scale[0].shape != pixels.shape[1:] or self._scale[0].device != pixels.device:
            # A value for every pixel, made once: whole images at a time are many times faster than channel by channel.
            mean, std = (255 * values.double() for values in self.statistics())
            self._scale = tuple(
                values.float().expand(pixels.shape[1:]).contiguous().to(pixels.device)
                for values in (-mean / std, 1 / std)
            )
        shift, factor = self._scale
        pixels = pixels.to(torch.float32, copy=True)
        return torch.addcmul(shift, pixels, factor, out=pixels).permute(0, 3, 1, 2)

    def to_pixels(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) that a net sees to the pixels (B, H, W, C) uint8 that a person does: grey, or colours.

        Of two channels it is the first, of more than three the first three.
        """
        mean, std = (255 * values.to(images.device)[:, None, None] for values in self.statistics())
        pixels = (images.float() * std + mean).round_().clamp_(0, 255).byte().permute(0, 2, 3, 1)
        return pixels[..., : 3 if pixels.shape[-1] >= 3 else 1]

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, for pixels in [0, 1]: given, known or measured."""
        if self._mean is not None and self._std is not None:
            return self._mean, self._std
        if self._usual_statistics is None:
            self._usual_statistics = _measure(*self.pixels_to_measure(self.split("train")))
        mean, std = self._usual_statistics
        return mean if self._mean is None else self._mean, std if self._std is None else self._std

    def pixels_to_measure(self, split: Split) -> tuple[Tensor, Tensor]:
        """Images (N, H, W, C) uint8, and the numbers of those whose mean and deviation stand for the split's."""
        assert isinstance(split.images, Tensor)
        return split.images, split.indices

    @property
    def unreadable(self) -> set[str]:
        """The files that this process could not read and has left out, until the end of the stage."""
        return set(self._streams.unreadable)

    def on_exception(self, exception: BaseException) -> None:
        # Lightning tears nothing down then, and workers that nobody ends keep the process for five seconds each time.
        self._streams.close()

    def teardown(self, stage: str) -> None:
        self._streams.end()

    def state_dict(self) -> dict[str, Any]:
        mean, std = self.statistics()
        side, shorter_side = self.sizes()
        size = (side, side) if side else self.split("train").images.shape[-3:-1]
        return {
            "class_names": list(self.class_names),
            "in_chans": self.in_chans,
            "image_size": list(size),
            "shorter_side": shorter_side or min(size),
            "mean": mean.tolist(),
            "std": std.tolist(),
            "trained_on": len(self._splits["train"]) if "train" in self._splits else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the statistics that the checkpoint's net was trained with, unless others were given.

        Training goes on with as many images only.

        Raises:
            InputError: where the checkpoint's net knows other classes.
        """
        if state_dict["class_names"] != list(self.class_names):
            raise InputError(
                f"the checkpoint was trained on the classes {', '.join(state_dict['class_names'])}, "
                f"but this data set has {', '.join(self.class_names)}"
            )
        self._usual_statistics = (torch.tensor(state_dict["mean"]), torch.tensor(state_dict["std"]))
        self._trained_on = state_dict.get("trained_on")
        self._scale = None

    def __str__(self) -> str:  # Lightning's asks the loaders for data sets that ours do not have
        return f"{type(self).__name__}(root={str(self.root)!r}, {self.num_classes} classes)"


def _measure(images: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over all pixels, exactly: from a histogram of their 256 values."""
    counts = torch.zeros(images.shape[-1], 256, dtype=torch.int64)
    for some in indices.split(1024):
        for number, channel in enumerate(images[some].unbind(-1)):
            counts[number] += torch.bincount(channel.flatten(), minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255
    shares = counts / counts.sum(1, keepdim=True, dtype=torch.float64)
    mean = (shares * values).sum(1)
    std = (shares * (values - mean[:, None]) ** 2).sum(1).sqrt().float()
    return mean.float(), torch.where(std > 0, std, 1.0)  # a channel of one value has nothing to scale
