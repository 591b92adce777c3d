"""Augmentations of whole batches, with random parameters for each image."""

from .augmentation import Augmentation

__all__ = ["Augmentation"]
