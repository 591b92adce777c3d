"""Images in, augmented batches out."""

from .augment import Augmentation
from .cifar import CIFAR10DataModule, CIFAR100DataModule
from .digits import DigitsDataModule
from .image_folder import ImageFolderDataModule
from .loader import BatchLoader, Order, RawBatch
from .mnist import FashionMNISTDataModule, KMNISTDataModule, MNISTDataModule
from .module import ImageDataModule
from .prediction import PredictionDataModule
from .splits import Split
from .stream import StreamLoader

__all__ = [
    "Augmentation",
    "BatchLoader",
    "CIFAR10DataModule",
    "CIFAR100DataModule",
    "DigitsDataModule",
    "FashionMNISTDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "KMNISTDataModule",
    "MNISTDataModule",
    "Order",
    "PredictionDataModule",
    "RawBatch",
    "Split",
    "StreamLoader",
]
