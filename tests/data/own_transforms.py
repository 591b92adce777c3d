"""Augmentations of one's own, named in configs of the tests by their dotted path."""

import random

import numpy as np
import torch


def noise(image, std=0.1):
    assert image.ndim == 3
    return (image + std * torch.randn_like(image)).clamp(0, 1)


class HoldsGenerators:
    """Draws from every kind of generator that it may hold, and from the global ones."""

    def __init__(self):
        self.torch, self.numpy, self.old = torch.Generator(), np.random.default_rng(0), np.random.RandomState(0)
        self.python, self.nested = random.Random(0), [np.random.default_rng(1)]

    def __call__(self, image):
        own = torch.rand((), generator=self.torch), self.numpy.random(), self.old.rand(), self.python.random()
        everyones = torch.rand(()), np.random.rand(), random.random(), self.nested[0].random()
        return image * sum(map(float, own + everyones)) / 8


class Batch:
    """Adds one random number for each image of a batch."""

    def __call__(self, images):
        assert images.ndim == 4
        return images + 0.1 * torch.rand(len(images), 1, 1, 1)


class Swap:
    """Mixes each image with the next one; its targets become probabilities."""

    def __init__(self, num_classes, share=0.5):
        self.num_classes, self.share = num_classes, share

    def __call__(self, images, targets):
        one_hot = torch.nn.functional.one_hot(targets, self.num_classes).float()
        return [self.share * x + (1 - self.share) * x.roll(1, 0) for x in (images, one_hot)]
