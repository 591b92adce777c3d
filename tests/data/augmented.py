"""Runs ``Augmentation`` on batches, for several test files."""

import torch

from resnet_lightning.data.augmentation import Augmentation
from resnet_lightning.data.augmentation.draws import Draws

# The purposes of the random numbers. They are part of what a seed means, so no change may renumber them.
CROP, FLIP, AFFINE, RESIZED_CROP, COLOR, CUTOUT, ERASE, ERASE_BOX, MIX = range(9)

SEED, EPOCH = 5, 3


def random_images(n=24, channels=3, height=10, width=13, dtype=torch.uint8):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, channels, height, width), generator=generator)
    pixels = pixels.to(dtype) if dtype == torch.uint8 else pixels.to(dtype) / 3
    return pixels.contiguous(memory_format=torch.channels_last)


def numbers_of(n):
    """Indices of ``n`` images somewhere in a data set."""
    return torch.arange(n) * 31 + 5


def neighbors(n):
    """The other row of each pair of rows."""
    return torch.arange(n) ^ 1


def normalize(images):
    return (images.float() - 120) / 60


def pixels_of(normalized):
    return normalized * 60 + 120


def augmented(options, images, indices=None, seed=SEED, epoch=EPOCH, others=None, targets=None, num_classes=None):
    """Images and targets. By default each image is its own class."""
    n = len(images)
    return Augmentation(**options)(
        images,
        torch.arange(n) if targets is None else targets,
        Draws(numbers_of(n) if indices is None else indices, seed, epoch),
        normalize,
        others=others,
        num_classes=num_classes or n,
    )


def images_of(options, images, *arguments, **more):
    return augmented(options, images, *arguments, **more)[0]
