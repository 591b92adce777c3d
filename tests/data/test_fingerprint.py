"""A run resumes only on the images that it was trained on, even if there are as many as before."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from data_modules import one_line
from image_files import random_pixels, write_folders
from resnet_lightning import DigitsDataModule, ImageFolderDataModule, InputError

OTHER = "the checkpoint was trained on other images"


def folder(root="images", **options):
    return ImageFolderDataModule(root, batch_size=2, val_split=0.2, **options)


def state_of(data):
    data.setup("fit")
    return data.state_dict()


def resume(data, state):
    data.load_state_dict(state)
    data.setup("fit")


def replace_one(file):
    Image.fromarray(random_pixels(77)).save(file)


def replace_by_one_of_the_same_size(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def rename_one(file):
    file.rename(file.with_name("zzz.png"))


def relabel_one(file):
    """One cat for one dog: the numbers stay."""
    other = Path(str(file).replace("cat", "dog"))
    kept = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(kept)


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("resident", [False, "cpu"], ids=["streamed", "decoded"])
@pytest.mark.parametrize("change", [replace_one, replace_by_one_of_the_same_size, rename_one, relabel_one])
def test_files_that_changed_are_refused(change, resident):
    write_folders(Path("images"), ["train", "test"])
    state = state_of(folder(resident=resident))
    change(Path("images/train/cat/004.png"))
    with pytest.raises(InputError, match=OTHER) as caught:
        resume(folder(resident=False), state)
    assert "--model.backbone_args.pretrained" in one_line(caught)


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("resident", [False, "cpu"], ids=["streamed", "decoded"])
def test_the_same_files_elsewhere_or_kept_elsewhere_are_accepted(resident):
    write_folders(Path("images"), ["train", "test"])
    state = state_of(folder(resident=resident))
    shutil.copytree("images", "moved/there")
    for other in False, "cpu":
        resume(folder("moved/there", resident=other), state)


class Arrays(DigitsDataModule):
    """The digits, some of them with other pixels or labels."""

    changed: tuple[int, ...] = ()

    def read(self, part):
        images, labels = (torch.as_tensor(values).clone() for values in super().read(part))
        for number in self.changed if part == "train" else ():
            images[number, 0, 0] += 1
        return images, labels


def test_arrays_are_compared_by_their_bytes():
    state = state_of(Arrays())
    resume(Arrays(), state)
    other = Arrays()
    other.changed = (700,)
    with pytest.raises(InputError, match=OTHER):
        resume(other, state)


def test_as_many_others_of_the_same_images_are_refused():
    """Else the run would be validated on images that it was trained on."""
    with pytest.raises(InputError, match=r"such as data.split_seed"):
        resume(DigitsDataModule(split_seed=1), state_of(DigitsDataModule()))


def test_a_checkpoint_without_a_fingerprint_is_accepted():
    state = state_of(DigitsDataModule())
    del state["fingerprint"]
    resume(DigitsDataModule(), state)
