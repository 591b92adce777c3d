"""The data sets, each as a data module."""

from .cifar import CIFAR10DataModule, CIFAR100DataModule
from .digits import DigitsDataModule
from .image_folder import ImageFolderDataModule
from .mnist import FashionMNISTDataModule, KMNISTDataModule, MNISTDataModule
from .table import TableDataModule

__all__ = [
    "CIFAR10DataModule",
    "CIFAR100DataModule",
    "DigitsDataModule",
    "FashionMNISTDataModule",
    "ImageFolderDataModule",
    "KMNISTDataModule",
    "MNISTDataModule",
    "TableDataModule",
]
