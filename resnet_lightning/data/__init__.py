"""Images in, augmented batches out."""

from .augmentation import Augmentation
from .datasets.cifar import CIFAR10DataModule, CIFAR100DataModule
from .datasets.digits import DigitsDataModule
from .datasets.image_folder import ImageFolderDataModule
from .datasets.mnist import FashionMNISTDataModule, KMNISTDataModule, MNISTDataModule
from .datasets.table import TableDataModule
from .image_spec import ImageSpec
from .loading.order import Order
from .loading.resident import BatchLoader, RawBatch
from .loading.streaming import StreamLoader
from .module import ImageDataModule
from .prediction import PredictionDataModule
from .splits import Split

__all__ = [
    "Augmentation",
    "BatchLoader",
    "CIFAR10DataModule",
    "CIFAR100DataModule",
    "DigitsDataModule",
    "FashionMNISTDataModule",
    "ImageDataModule",
    "ImageFolderDataModule",
    "ImageSpec",
    "KMNISTDataModule",
    "MNISTDataModule",
    "Order",
    "PredictionDataModule",
    "RawBatch",
    "Split",
    "StreamLoader",
    "TableDataModule",
]
