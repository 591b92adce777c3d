"""Compares our data engine with the alternatives, in epochs of augmented batches of CIFAR size.

Images are padded by 4 pixels, cropped, mirrored with probability 1/2 and normalized to float32, in batches of 128.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from ..data import Augmentation, ImageDataModule, RawBatch
from ..training.hardware import available_cores
from .comparison import Comparison, interleaved, timed

_MEAN, _STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
_BATCH = 128
_WHOLE_SET = 390 * _BATCH  # the size of CIFAR, in whole batches
_SMALL_SET = 78 * _BATCH  # a fifth, because a DataLoader can be a hundred times slower


class RandomImagesDataModule(ImageDataModule):
    """Images of random pixels in 10 classes, which take as long to load as real images.

    Args:
        count: number of training images. The number of test images is an eighth of it.
        side: their height and width.
        options: the options of ``ImageDataModule``.
    """

    class_names = tuple("0123456789")
    known_statistics = (_MEAN, _STD)

    def __init__(self, count: int = _WHOLE_SET, side: int = 32, **options: Any) -> None:
        self.image_size = self.side = side
        super().__init__(**options)
        self.count = count

    def read(self, part: str) -> tuple[Any, Any]:
        return random_images(self.count if part == "train" else self.count // 8, self.side)


def random_images(count: int, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Generates pixels (count, side, side, 3) uint8 and labels (count,)."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, side, side, 3), np.uint8), generator.integers(0, 10, count)


class FromArray(Dataset[tuple[Tensor, int]]):
    """Transforms images of an array one by one, as ``torchvision.datasets.CIFAR10`` does after reading its files."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


class WholeSet:
    """Normalizes and pads all images once, and augments all of them before each epoch, as CIFAR-10 speed runs do."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, device: str = "cpu") -> None:
        mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (_MEAN, _STD))
        zero_padded = F.pad(torch.from_numpy(images).to(device).permute(0, 3, 1, 2), (4, 4, 4, 4))
        self.padded = zero_padded.float().div_(255).sub_(mean).div_(std)
        self.labels = torch.from_numpy(labels).to(device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        n, device = len(self.padded), self.padded.device
        mirrored = torch.rand(n, device=device) < 0.5
        images = torch.where(mirrored.view(-1, 1, 1, 1), self.padded.flip(-1), self.padded)
        top, left = torch.randint(0, 9, (2, n), device=device)
        # All images with the same shift are cropped at once, first by rows, then by columns.
        rows = torch.empty(n, 3, 32, 40, device=device)
        for shift in range(9):
            rows[top == shift] = images[top == shift, :, shift : shift + 32]
        cropped = torch.empty(n, 3, 32, 32, device=device)
        for shift in range(9):
            cropped[left == shift] = rows[left == shift, :, :, shift : shift + 32]
        for batch in torch.randperm(n, device=device).split(_BATCH):
            yield cropped[batch], self.labels[batch]


def data(*, rounds: int) -> Iterator[Comparison]:
    """Times whole epochs, without the preparations before the first epoch."""
    small_set = RandomImagesDataModule(_SMALL_SET, **_OPTIONS)
    for workers in 0, 2:
        loader = _dataloader(*random_images(_SMALL_SET), workers)
        work = f"torchvision's transforms in a DataLoader, {workers} workers"
        yield interleaved(work, _SMALL_SET, _our_epoch(small_set), timed(partial(_exhaust, loader)), rounds=rounds)
    for policy in "RandAugment", "TrivialAugmentWide", "AugMix":
        options = {**_OPTIONS, "augment": Augmentation(crop=4, flip=True, policy=policy)}
        loader = _dataloader(*random_images(_SMALL_SET), 2, getattr(transforms, policy)())
        ours = _our_epoch(RandomImagesDataModule(_SMALL_SET, **options))
        work = f"the same and {policy}, 2 workers"
        yield interleaved(work, _SMALL_SET, ours, timed(partial(_exhaust, loader)), rounds=rounds)
    whole_set = RandomImagesDataModule(_WHOLE_SET, **_OPTIONS)
    augmented_at_once = WholeSet(*random_images(_WHOLE_SET))
    work = "the whole set augmented at once, as tensors"
    yield interleaved(
        work, _WHOLE_SET, _our_epoch(whole_set), timed(partial(_exhaust, augmented_at_once)), rounds=rounds
    )
    work = "upper bound: the same images in the same order, only copied to float32"
    not_augmented = RandomImagesDataModule(_WHOLE_SET, batch_size=_BATCH, val_split=0.0).raw_loader("train")
    yield interleaved(work, _WHOLE_SET, _our_epoch(whole_set), timed(partial(_copy, not_augmented)), rounds=rounds)


_OPTIONS: dict[str, Any] = {"batch_size": _BATCH, "val_split": 0.0, "augment": Augmentation(crop=4, flip=True)}


def data_on_the_device(*, rounds: int, count: int = _WHOLE_SET) -> Iterator[Comparison]:
    """Times whole epochs whose batches end on the GPU, if there is one.

    Args:
        rounds: number of rounds.
        count: number of images of an epoch.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ours = RandomImagesDataModule(count, **_OPTIONS)
    augmented_at_once = WholeSet(*random_images(count), device)
    work = f"batches of CIFAR size on {device}, the whole set augmented there at once"
    theirs = timed(partial(_exhaust, augmented_at_once))
    yield interleaved(work, count, _our_epoch(ours, device), theirs, rounds=rounds)
    workers = min(available_cores(), 16)
    loader = _dataloader(*random_images(count), workers, pinned=device == "cuda")
    work = f"batches of CIFAR size on {device}, torchvision's transforms in a DataLoader, {workers} workers"
    yield interleaved(work, count, _our_epoch(ours, device), timed(partial(_move, loader, device)), rounds=rounds)


def _our_epoch(module: ImageDataModule, device: str = "cpu") -> Callable[[], float]:
    """Returns a function that times an epoch of the loader that a Trainer gets."""
    return timed(partial(_exhaust, module.device_loader("train", torch.device(device))))


def _move(batches: Iterable[tuple[Tensor, Tensor]], device: str) -> None:
    for images, labels in batches:
        images.to(device, non_blocking=True)
        labels.to(device, non_blocking=True)


def _copy(batches: Iterable[RawBatch]) -> None:
    for batch in batches:
        batch.images.float()


def _dataloader(
    images: np.ndarray,
    labels: np.ndarray,
    workers: int,
    *policy: Callable[[Image.Image], Image.Image],
    pinned: bool = False,
) -> DataLoader[tuple[Tensor, int]]:
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            *policy,
            transforms.ToTensor(),
            transforms.Normalize(_MEAN, _STD),
        ]
    )
    dataset = FromArray(images, labels, transform)
    return DataLoader(
        dataset,
        _BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pinned,
    )


def _exhaust(batches: Any) -> None:
    for _ in batches:
        pass
