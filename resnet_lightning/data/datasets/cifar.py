"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009, *Learning Multiple Layers of Features from Tiny Images*)."""

from typing import Any, ClassVar

from torchvision import datasets
from torchvision.datasets.utils import check_integrity

from ...errors import InputError
from ..augmentation import Augmentation
from ..module import ImageDataModule
from .download import download_unless_there

STANDARD_AUGMENTATION = Augmentation(crop=4, flip=True)
"""He et al. 2015, section 4.2: pad by 4, crop 32x32 at random, mirror with probability 1/2."""


class CIFAR10DataModule(ImageDataModule):
    """CIFAR-10: 50,000 + 10,000 colour photographs of 10 classes, 32x32.

    See ``ImageDataModule`` for the arguments.
    """

    dataset: ClassVar[type[datasets.CIFAR10]] = datasets.CIFAR10
    class_names: tuple[str, ...] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    image_size = 32
    known_statistics = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))

    def __init__(self, *, augment: Augmentation = STANDARD_AUGMENTATION, **options: Any) -> None:
        super().__init__(augment=augment, **options)

    def download(self) -> None:
        folder = self.root / self.dataset.base_folder
        meta = (self.dataset.meta["filename"], self.dataset.meta["md5"])
        sums = {folder / name: md5 for name, md5 in (*self.dataset.train_list, *self.dataset.test_list, meta)}
        download_unless_there(self.dataset.__name__, [*sums], lambda: self.dataset(self.root, download=True))
        for file, md5 in sums.items():
            if not check_integrity(file, md5):
                raise InputError(
                    f"{str(file)!r} is damaged (its md5 is not {md5}); "
                    f"delete the folder {folder.name!r} and run again to download it anew"
                )

    def read(self, part: str) -> tuple[Any, Any]:
        try:
            data = self.dataset(self.root, train=part == "train")
        except RuntimeError as error:
            raise InputError(f"no complete {self.dataset.__name__} in {str(self.root)!r}: {error}") from error
        return data.data, data.targets


class CIFAR100DataModule(CIFAR10DataModule):
    """CIFAR-100: 50,000 + 10,000 colour photographs of 100 classes, 32x32.

    See ``ImageDataModule`` for the arguments.
    """

    dataset = datasets.CIFAR100
    class_names = tuple(
        """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
        castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
        elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
        man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
        pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
        tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
        """.split()
    )
    known_statistics = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
