"""Augmentations of whole batches, with parameters of each image's own."""

from .augmentation import Augmentation

__all__ = ["Augmentation"]
