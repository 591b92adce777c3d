"""MNIST, and two data sets in the same format."""

from typing import Any, ClassVar

from torchvision import datasets

from ...errors import InputError
from ..module import ImageDataModule
from .download import download_unless_there


class MNISTDataModule(ImageDataModule):
    """MNIST (LeCun, Bottou, Bengio & Haffner 1998): 60,000 + 10,000 handwritten digits, 28x28, grey.

    See ``ImageDataModule`` for the arguments.
    """

    dataset: ClassVar[type[datasets.MNIST]] = datasets.MNIST
    class_names = tuple("0123456789")
    in_chans = 1
    image_size = 28
    known_statistics = ((0.1307,), (0.3081,))

    def download(self) -> None:
        folder = self.root / self.dataset.__name__ / "raw"
        files = [folder / archive.removesuffix(".gz") for archive, _ in self.dataset.resources]
        download_unless_there(self.dataset.__name__, files, lambda: self.dataset(self.root, download=True))

    def read(self, part: str) -> tuple[Any, Any]:
        try:
            data = self.dataset(self.root, train=part == "train")
        except (AssertionError, KeyError, ValueError, EOFError, OSError, RuntimeError) as error:
            prefix = "train" if part == "train" else "t10k"
            folder = self.root / self.dataset.__name__ / "raw"
            raise InputError(
                f"a file of the {part} images is damaged: {folder}/{prefix}-*-ubyte; "
                "delete that folder and run again to download it anew, or copy intact files there"
            ) from error
        return data.data, data.targets


class FashionMNISTDataModule(MNISTDataModule):
    """Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): 60,000 + 10,000 images of clothes, 28x28, grey.

    See ``ImageDataModule`` for the arguments.
    """

    dataset = datasets.FashionMNIST
    class_names = (
        *("t-shirt", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle-boot"),
    )
    known_statistics = ((0.2860,), (0.3530,))


class KMNISTDataModule(MNISTDataModule):
    """Kuzushiji-MNIST (Clanuwat et al. 2018): 60,000 + 10,000 characters of cursive Japanese, 28x28, grey.

    See ``ImageDataModule`` for the arguments.
    """

    dataset = datasets.KMNIST
    class_names = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    known_statistics = ((0.1918,), (0.3483,))
