import multiprocessing
import os
import shutil
import time

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from PIL import Image, ImageFile

from image_files import DAMAGE_IDS, DAMAGES, random_pixels, write_folders, write_images, write_sizes
from resnet_lightning import Augmentation, ImageFolderDataModule, InputError
from resnet_lightning.data import BatchLoader, StreamLoader
from resnet_lightning.data.loading.files import ImageFiles


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def said(caplog):
    """The warnings of our own."""
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("resnet_lightning")]


# What is found in a folder.


def pixels_of(data, name):
    split = data.split(name)
    return [image.tobytes() for image in split.images[split.indices].numpy()]


def raw(images):
    return [image.tobytes() for image in images]


def test_folders_train_val_test_are_taken_as_they_are(tmp_path):
    written = write_folders(tmp_path, ["train", "val", "test"])
    data = ImageFolderDataModule(tmp_path)
    assert data.class_names == ("cat", "dog")
    for part, images in written.items():
        assert pixels_of(data, part) == raw(images)
        assert data.split(part).targets.tolist() == [0] * 10 + [1] * 10


def test_folders_train_test_hold_validation_images_out_of_train(tmp_path):
    written = write_folders(tmp_path, ["train", "test"])
    data = ImageFolderDataModule(tmp_path, val_split=0.2)
    assert pixels_of(data, "test") == raw(written["test"])
    assert len(data.split("val")) == 4
    assert sorted(pixels_of(data, "train") + pixels_of(data, "val")) == sorted(raw(written["train"]))


def test_folders_train_val_keep_val_for_the_final_test(tmp_path):
    written = write_folders(tmp_path, ["train", "val"])
    data = ImageFolderDataModule(tmp_path, val_split=0.2)
    assert pixels_of(data, "test") == raw(written["val"])
    assert len(data.split("val")) == 4
    assert sorted(pixels_of(data, "train") + pixels_of(data, "val")) == sorted(raw(written["train"]))


@pytest.mark.parametrize("place", [".", "train"])
def test_class_folders_alone_keep_every_fifth_image_for_the_test(tmp_path, place):
    cats, dogs = (write_images(tmp_path / place / name, n, seed=n) for name, n in (("cat", 12), ("dog", 9)))
    data = ImageFolderDataModule(tmp_path, val_split=0.2)
    test = [cats[4], cats[9], dogs[4]]
    assert pixels_of(data, "test") == raw(test)
    assert data.split("test").targets.tolist() == [0, 0, 1]
    assert len(data.split("val")) == 2 + 2
    remaining = set(raw(cats + dogs)) - set(raw(test))
    assert sorted(pixels_of(data, "train") + pixels_of(data, "val")) == sorted(remaining)


def test_chosen_classes_of_folders_are_numbered_in_the_order_given(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    bats = {part: write_images(tmp_path / part / "bat", 3, seed=9 + len(part)) for part in ("train", "test")}
    data = ImageFolderDataModule(tmp_path, classes=["dog", "bat"])
    assert data.all_classes == ("bat", "cat", "dog")
    split = data.split("test")
    assert sorted(split.targets.tolist()) == [0] * 10 + [1] * 3
    assert raw(split.images[split.targets == 1].numpy()) == raw(bats["test"])


def test_images_below_class_folders_are_found_and_other_files_are_left_alone(tmp_path):
    write_folders(tmp_path, ["train", "test"], n=2)
    deep = write_images(tmp_path / "train" / "cat" / "deep" / "deeper", 1, seed=50)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "cat" / "000.png").rename(tmp_path / "train" / "cat" / "000.PNG")
    data = ImageFolderDataModule(tmp_path, val_split=0)
    assert data.class_names == ("cat", "dog")
    assert len(data.split("train")) == 5
    assert raw(deep)[0] in pixels_of(data, "train")


def test_image_size_scales_the_shorter_side_and_cuts_the_middle_out(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    # Three bands of colour, of which the middle one fills the square.
    for name, size in (("wide", (12, 36)), ("high", (36, 12))):
        bands = np.zeros((*size, 3), np.uint8)
        for number, part in enumerate(np.array_split(bands, 3, axis=int(np.argmax(size)))):
            part[...] = np.eye(3, dtype=np.uint8)[number] * 255
        Image.fromarray(bands).save(tmp_path / "train" / "cat" / f"{name}.png")
    data = ImageFolderDataModule(tmp_path, image_size=6, val_split=0)
    assert data.image_size == 6
    images = data.split("train").images
    assert images.shape == (22, 6, 6, 3)
    for image in images[10:12].numpy():
        assert (image[1:-1, 1:-1] == (0, 255, 0)).all()
    constant = np.full((5, 9, 3), 77, np.uint8)
    Image.fromarray(constant).save(tmp_path / "train" / "cat" / "constant.png")
    larger = ImageFolderDataModule(tmp_path, image_size=17, val_split=0).split("train").images
    assert larger.shape == (23, 17, 17, 3)
    assert (larger[10] == 77).all()


def test_image_size_leaves_images_of_that_size_to_the_pixel(tmp_path):
    written = write_folders(tmp_path, ["train", "test"])
    assert pixels_of(ImageFolderDataModule(tmp_path, image_size=6), "test") == raw(written["test"])


def test_images_that_differ_in_size_are_named(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    write_images(tmp_path / "train" / "dog", 1, size=(5, 7))
    odd, first = tmp_path / "train" / "dog" / "000.png", tmp_path / "train" / "cat" / "000.png"
    with pytest.raises(InputError) as caught:
        ImageFolderDataModule(tmp_path).setup("fit")
    assert one_line(caught) == (
        f"the images differ in size: '{first}' is 6x6 and '{odd}' is 7x5; give one with --data.image_size"
    )


@pytest.mark.parametrize("size", [None, 64])
@pytest.mark.parametrize(("name", "write"), DAMAGES, ids=DAMAGE_IDS)
@pytest.mark.parametrize("place", ["cat", "zebra"])  # the first image gives the size, and fails elsewhere
def test_an_unreadable_image_is_named(tmp_path, size, name, write, place):
    for part in ("train", "test"):
        for animal in ("dog", "zebra"):
            write_images(tmp_path / part / animal, 3, size=(64, 64))
    file = tmp_path / "train" / place / name
    file.parent.mkdir(exist_ok=True)
    write(file)
    with pytest.raises(InputError) as caught:
        ImageFolderDataModule(tmp_path, image_size=size).setup("fit")
    assert one_line(caught) == (f"cannot read the image '{file}': it is damaged or not an image; replace or remove it")


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(InputError, match=f"there is no folder '{tmp_path}/absent'; give the images' folder"):
        ImageFolderDataModule(tmp_path / "absent")


def test_a_root_without_class_folders_is_named(tmp_path):
    with pytest.raises(InputError, match=f"there are no class folders in '{tmp_path}'; the images of each class"):
        ImageFolderDataModule(tmp_path)
    Image.fromarray(random_pixels(0)).save(tmp_path / "loose.png")
    with pytest.raises(InputError, match=f"there are no class folders in '{tmp_path}'; its images, such as 'loose"):
        ImageFolderDataModule(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match=f"there are no class folders in '{tmp_path}/train'"):
        ImageFolderDataModule(tmp_path)


def test_val_and_test_without_train_are_not_taken_for_classes(tmp_path):
    write_folders(tmp_path, ["val", "test"])
    with pytest.raises(InputError, match="train"):
        ImageFolderDataModule(tmp_path)


def test_a_single_class_is_named(tmp_path):
    write_images(tmp_path / "train" / "cat", 2)
    with pytest.raises(InputError, match=f"there is only one class, 'cat', in '{tmp_path}/train'"):
        ImageFolderDataModule(tmp_path)


def test_an_empty_class_folder_is_named(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    (tmp_path / "train" / "emu").mkdir()
    with pytest.raises(InputError, match=rf"there is no image in '{tmp_path}/train/emu' \(looked for \.jpg"):
        ImageFolderDataModule(tmp_path).setup("fit")


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_class_that_training_lacks_is_named(tmp_path, part):
    write_folders(tmp_path, ["train", "val", "test"], n=1)
    write_images(tmp_path / part / "emu", 1)
    with pytest.raises(InputError, match=f"'{tmp_path}/{part}' has a class that the training images lack: 'emu'"):
        ImageFolderDataModule(tmp_path)


def test_a_test_set_may_lack_a_class(tmp_path):
    written = write_folders(tmp_path, ["train", "test"])
    shutil.rmtree(tmp_path / "test" / "cat")
    data = ImageFolderDataModule(tmp_path)
    assert pixels_of(data, "test") == raw(written["test"][10:])
    assert data.split("test").targets.tolist() == [1] * 10


@pytest.mark.parametrize("size", [None, 6])
def test_too_few_images_for_a_test_set_are_refused_when_testing(tmp_path, size):
    for animal in ("cat", "dog"):
        write_images(tmp_path / animal, 4)
    with pytest.raises(InputError, match="no test images"):
        ImageFolderDataModule(tmp_path, image_size=size).setup("test")


@pytest.mark.parametrize("size", [0, -3])
def test_an_image_size_below_one_is_refused(tmp_path, size):
    with pytest.raises(InputError, match=f"data.image_size is {size}; give the side in pixels"):
        ImageFolderDataModule(tmp_path, image_size=size)


def test_predicted_images_get_the_size_of_the_training_images(tmp_path):
    write_folders(tmp_path / "data", ["train", "test"])
    (tmp_path / "new").mkdir()
    for number, size in enumerate([(30, 20), (9, 9), (6, 6)]):
        Image.new("RGB", size, (10, 20, 30)).save(tmp_path / "new" / f"{number}.png")
    files = ImageFolderDataModule(tmp_path / "data", predict_folder=tmp_path / "new").split("predict").images
    images, _ = files.read_all(range(3))
    assert images.shape == (3, 6, 6, 3)
    assert (images == torch.tensor([10, 20, 30])).all()


# What is wrong with a folder's layout.


def test_images_without_class_folders_are_told_from_other_things(tmp_path):
    write_folders(tmp_path, ["train"])
    (tmp_path / "val").mkdir()
    Image.fromarray(random_pixels(0)).save(tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(InputError) as caught:
        ImageFolderDataModule(tmp_path)
    assert one_line(caught) == (
        f"there are no class folders in '{tmp_path}/val'; its images, such as 'ILSVRC2012_val_00000001.JPEG', lie in "
        "it directly; sort them into folders of the classes' names (ImageNet's val comes so, with the labels in a file "
        "beside it)"
    )


@pytest.mark.parametrize("name", ["n01440764.tar", "n01440764.tar.gz", "images.tgz", "images.zip"])
@pytest.mark.parametrize("place", [".", "train", "test"])
def test_archives_are_to_be_unpacked(tmp_path, name, place):
    if place == "test":
        write_folders(tmp_path, ["train"])
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / name).touch()
    with pytest.raises(InputError) as caught:
        ImageFolderDataModule(tmp_path)
    assert one_line(caught) == (
        f"there are no class folders in '{tmp_path / place}'; unpack '{name}' and others like it, each class into a "
        "folder of its name"
    )


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_part_that_is_empty_is_named(tmp_path, part):
    write_folders(tmp_path, ["train"])
    (tmp_path / part).mkdir()
    with pytest.raises(
        InputError, match=f"there are no class folders in '{tmp_path}/{part}'; the images of each class"
    ):
        ImageFolderDataModule(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_workers": -1}, r"data.num_workers is -1; give 0 \(none\) or more processes"),
        ({"on_error": "ignore"}, "data.on_error is 'ignore'; give 'raise' or 'skip'"),
        ({"cache_gb": -0.5}, "data.cache_gb is -0.5; give a size in gigabytes, 0 for no cache"),
        ({"cache_gb": float("nan")}, "data.cache_gb is nan; give a size"),
        ({"shorter_side": 8}, "data.shorter_side is 8; it needs an image_size, which is not larger"),
        ({"shorter_side": 5, "image_size": 6}, "data.shorter_side is 5; it needs an image_size"),
        ({"shorter_side": 0}, "data.shorter_side is 0; it needs an image_size"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, options, message):
    write_folders(tmp_path, ["train", "test"], n=1)
    with pytest.raises(InputError, match=message):
        ImageFolderDataModule(tmp_path, **options)


def test_the_ends_of_the_ranges_are_accepted(tmp_path):
    write_folders(tmp_path, ["train", "test"], n=2)
    data = ImageFolderDataModule(tmp_path, num_workers=0, cache_gb=0, image_size=6, shorter_side=6, val_split=0)
    assert data.split("train").images.shape == (4, 6, 6, 3)


def test_the_shorter_side_is_scaled_before_the_middle_is_cut_out(tmp_path):
    write_folders(tmp_path, ["train", "test"], n=1)
    frame = np.zeros((20, 20, 3), np.uint8)
    frame[5:15, 5:15] = 200
    Image.fromarray(frame).save(tmp_path / "test" / "cat" / "000.png")
    for shorter_side, dark in ((None, True), (20, False)):
        data = ImageFolderDataModule(tmp_path, image_size=10, shorter_side=shorter_side)
        assert bool((data.split("test").images[0, 0] == 0).all()) == dark
        assert bool((data.split("test").images[0] == 200).all()) != dark


def test_folds_need_training_images_to_validate_on(tmp_path):
    write_folders(tmp_path, ["train", "val", "test"])
    with pytest.raises(InputError, match="num_folds is for data without validation images of its own"):
        ImageFolderDataModule(tmp_path, num_folds=2).setup("fit")


@pytest.mark.parametrize("options", [{}, {"image_size": 6}], ids=["size found", "size given"])
def test_a_mirroring_crop_has_to_fit_the_images(tmp_path, options):
    write_folders(tmp_path, ["train", "test"])
    data = ImageFolderDataModule(tmp_path, batch_size=4, augment=Augmentation(crop=5, pad="reflect"), **options)
    images, _ = data.on_after_batch_transfer(next(iter(data.train_dataloader())))
    assert images.shape == (4, 3, 6, 6)
    with pytest.raises(InputError, match=r"augment\.crop is 6; an image of 6 pixels cannot be mirrored so far out"):
        ImageFolderDataModule(tmp_path, augment=Augmentation(crop=6, pad="reflect"), **options)


# Decoded images that are kept.


@pytest.fixture
def no_decoding(monkeypatch):
    """From the call of it on, a file's header can be read and its pixels cannot."""

    def refuse(self):
        raise OSError("no decoding")

    return lambda: monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)


def split_pixels(data):
    return {name: pixels_of(data, name) for name in ("train", "val", "test")}


@pytest.mark.parametrize("options", [{}, {"image_size": 5, "shorter_side": 7}], ids=["as they are", "scaled"])
def test_a_second_run_decodes_nothing(tmp_path, no_decoding, options):
    write_folders(tmp_path / "data", ["train", "test"])
    options = {"root": tmp_path / "data", "cache_folder": tmp_path / "cache", "batch_size": 4, **options}
    first = ImageFolderDataModule(**options)
    first.setup("fit")
    no_decoding()
    second = ImageFolderDataModule(**options)
    second.setup("fit")
    assert split_pixels(second) == split_pixels(first)
    assert torch.equal(second.split("train").targets, first.split("train").targets)
    with pytest.raises(InputError, match="cannot read the image"):  # else this would show nothing
        ImageFolderDataModule(**{**options, "image_size": 4}).setup("fit")


def test_other_splits_of_the_same_images_decode_nothing(tmp_path, no_decoding):
    write_folders(tmp_path / "data", ["train", "test"])
    options = {"root": tmp_path / "data", "cache_folder": tmp_path / "cache", "batch_size": 4}
    ImageFolderDataModule(**options).setup("fit")
    no_decoding()
    for others in ({"split_seed": 1}, {"num_folds": 5, "fold": 3}, {"train_fraction": 0.5}, {"resident": "cpu"}):
        data = ImageFolderDataModule(**options, **others)
        data.setup("fit")
        assert len(data.split("train").images) == 20


def test_without_a_cache_nothing_is_kept(tmp_path, no_decoding):
    write_folders(tmp_path / "data", ["train", "test"])
    options = {"root": tmp_path / "data", "cache_folder": tmp_path / "cache", "cache_gb": 0, "batch_size": 4}
    ImageFolderDataModule(**options).setup("fit")
    assert not (tmp_path / "cache").exists()
    no_decoding()
    with pytest.raises(InputError, match="cannot read the image"):
        ImageFolderDataModule(**options).setup("fit")


def test_a_changed_file_is_decoded_anew(tmp_path):
    written = write_folders(tmp_path / "data", ["train", "test"])
    options = {"root": tmp_path / "data", "cache_folder": tmp_path / "cache", "val_split": 0}
    assert pixels_of(ImageFolderDataModule(**options), "train") == raw(written["train"])
    time.sleep(0.02)  # the clock of file systems ticks every few milliseconds
    changed = random_pixels(99)
    Image.fromarray(changed).save(tmp_path / "data" / "train" / "cat" / "003.png")
    written["train"][3] = changed
    assert pixels_of(ImageFolderDataModule(**options), "train") == raw(written["train"])


def test_damage_to_what_was_kept_is_warned_of_and_mended(tmp_path, said, no_decoding):
    written = write_folders(tmp_path / "data", ["train", "test"])
    options = {"root": tmp_path / "data", "cache_folder": tmp_path / "cache", "val_split": 0, "batch_size": 4}
    ImageFolderDataModule(**options).setup("fit")
    for file in (tmp_path / "cache").iterdir():
        content = bytearray(file.read_bytes())
        content[-5] ^= 16
        file.write_bytes(content)
    data = ImageFolderDataModule(**options)
    assert pixels_of(data, "train") == raw(written["train"])
    assert pixels_of(data, "test") == raw(written["test"])
    assert [line.endswith("are damaged; they are decoded anew") for line in said()] == [True, True]
    no_decoding()
    assert pixels_of(ImageFolderDataModule(**options), "train") == raw(written["train"])


def test_a_folder_that_nothing_can_be_kept_in_is_said_once(tmp_path, said):
    written = write_folders(tmp_path / "data", ["train", "test"])
    (tmp_path / "file").touch()
    data = ImageFolderDataModule(tmp_path / "data", cache_folder=tmp_path / "file" / "cache", val_split=0, batch_size=4)
    data.setup("fit")
    assert pixels_of(data, "train") == raw(written["train"])
    assert pixels_of(data, "test") == raw(written["test"])
    (line,) = said()
    assert line.startswith(f"decoded images are not cached in {tmp_path}/file/cache: ")


# Files that are read as they are needed.

MOVED = Augmentation(crop=2, pad="reflect", flip="alternate", cutout=2, cutmix=1.0)
EVERYTHING = Augmentation(
    crop=2, flip=True, rotate=10, brightness=0.3, hue=0.1, cutout=2, erase=0.4, mixup=0.4, cutmix=1.0
)


def write_differing(root):
    for part in ("train", "test"):
        for animal in ("cat", "dog"):
            write_sizes(root / part / animal, 9)


def batches(data, loader):
    return [data.on_after_batch_transfer(batch) for batch in loader]


def all_batches(data):
    data.setup("fit")
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    return [pair for loader in loaders for pair in batches(data, loader)]


@pytest.mark.parametrize("augment", [Augmentation(), MOVED, EVERYTHING], ids=["plain", "moved", "everything"])
def test_batches_are_the_same_to_the_bit_wherever_images_lie(tmp_path, augment):
    write_differing(tmp_path)
    options = {"batch_size": 3, "image_size": 6, "shorter_side": 8, "augment": augment, "val_split": 0.3}
    expected = all_batches(ImageFolderDataModule(tmp_path, resident="auto", **options))
    assert len(expected) == 4 + 2 + 6
    for others in (
        {"resident": "cpu"},
        {"resident": "cpu", "cache_gb": 0},
        {"resident": False, "num_workers": 0},
        {"resident": False, "num_workers": 2},
    ):
        data = ImageFolderDataModule(tmp_path, **options, **others)
        found = all_batches(data)
        assert isinstance(data.train_dataloader(), StreamLoader if others["resident"] is False else BatchLoader)
        for (images, targets), (right_images, right_targets) in zip(found, expected, strict=True):
            assert torch.equal(images, right_images)
            assert torch.equal(targets, right_targets)


def test_images_of_one_size_stream_without_one_given(tmp_path):
    write_folders(tmp_path, ["train", "val", "test"])
    options = {"batch_size": 4, "augment": EVERYTHING}
    expected = all_batches(ImageFolderDataModule(tmp_path, **options))
    found = all_batches(ImageFolderDataModule(tmp_path, resident=False, num_workers=2, **options))
    assert len(found) == 15
    for (images, targets), (right_images, right_targets) in zip(found, expected, strict=True):
        assert torch.equal(images, right_images)
        assert torch.equal(targets, right_targets)


def test_nothing_is_decoded_or_kept_before_it_is_needed(tmp_path, no_decoding):
    write_differing(tmp_path / "data")
    no_decoding()
    data = ImageFolderDataModule(
        tmp_path / "data", image_size=6, resident=False, batch_size=4, cache_folder=tmp_path / "cache"
    )
    data.setup("fit")
    assert isinstance(data.split("train").images, ImageFiles)
    assert (len(data.split("train")), len(data.split("val")), len(data.split("test"))) == (16, 2, 18)
    assert not (tmp_path / "cache").exists()


def test_images_too_large_for_the_memory_are_read_as_they_are_needed(tmp_path, caplog):
    caplog.set_level("INFO")
    write_folders(tmp_path, ["train", "test"])
    data = ImageFolderDataModule(tmp_path, image_size=1_000_000, batch_size=4)
    data.setup("fit")
    assert isinstance(data.train_dataloader(), StreamLoader)
    assert "60,000.0 GB of images are read as they are needed: too large for the memory" in caplog.messages


def test_a_random_resized_crop_is_made_once_and_while_reading(tmp_path):
    write_differing(tmp_path)
    options = {"image_size": 6, "batch_size": 4, "augment": Augmentation(resized_crop=0.2), "resident": False}
    data = ImageFolderDataModule(tmp_path, num_workers=2, **options)
    raw_batches = list(data.train_dataloader())
    for batch in raw_batches:
        assert torch.equal(data.on_after_batch_transfer(batch)[0], data.normalize(batch.images))
    here = ImageFolderDataModule(tmp_path, num_workers=0, **options).train_dataloader()
    for batch, right in zip(raw_batches, here, strict=True):
        assert torch.equal(batch.images, right.images)


@pytest.mark.parametrize("resident", ["auto", False])
def test_prediction_numbers_the_images(tmp_path, resident):
    write_folders(tmp_path, ["train", "test"])
    data = ImageFolderDataModule(tmp_path, image_size=6, resident=resident, num_workers=0, batch_size=6)
    data.setup("predict")
    found = batches(data, data.predict_dataloader())
    assert [numbers.tolist() for _, numbers in found] == [list(range(n, min(n + 6, 20))) for n in (0, 6, 12, 18)]
    tested = batches(data, data.test_dataloader())
    assert torch.equal(torch.cat([images for images, _ in found]), torch.cat([images for images, _ in tested]))


def test_one_worker_for_each_core_is_usual(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    for given, expected in ((None, min(len(os.sched_getaffinity(0)), 16)), (3, 3), (0, 0)):
        data = ImageFolderDataModule(tmp_path, resident=False, num_workers=given, batch_size=4)
        assert data.train_dataloader().num_workers == expected


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_unreadable_image_ends_a_run_that_reads_as_it_goes(tmp_path, num_workers):
    write_folders(tmp_path, ["train", "test"])
    file = tmp_path / "test" / "dog" / "004.png"
    file.write_text("not an image")
    data = ImageFolderDataModule(tmp_path, resident=False, num_workers=num_workers, batch_size=4)
    data.setup("test")
    seen, message = 0, None
    try:  # ``pytest.raises`` keeps the frames, and with them the workers, alive for long
        for _ in data.test_dataloader():
            seen += 1
    except InputError as error:
        message = str(error)
    assert seen == 3
    assert message == f"cannot read the image '{file}': it is damaged or not an image; replace or remove it"


# Images that are skipped.


def damage_some(root):
    """Three of the images of ``write_folders``."""
    names = [str(root / name) for name in ("test/cat/002.png", "train/cat/004.png", "train/dog/007.png")]
    for name in names:
        with open(name, "r+b") as file:
            file.truncate(70)
    return names


def summary(names):
    return [f"{len(names)} images could not be read and were left out, such as {', '.join(names)}"]


@pytest.mark.parametrize("options", [{}, {"image_size": 6}], ids=["size found", "size given"])
def test_skipped_images_are_left_out_with_their_labels_and_counted_in_the_end(tmp_path, said, options):
    written = write_folders(tmp_path, ["train", "test"])
    damage_some(tmp_path)
    options = {"on_error": "skip", "val_split": 0, "batch_size": 4, **options}
    for _ in range(2):  # a second run finds nothing kept that would lack them silently
        data = ImageFolderDataModule(tmp_path, **options)
        data.setup("fit")
        assert said() == []
        assert pixels_of(data, "train") == raw(written["train"][:4] + written["train"][5:17] + written["train"][18:])
        assert labels_of(data, "train") == [0] * 9 + [1] * 9
        assert pixels_of(data, "test") == raw(written["test"][:2] + written["test"][3:])
        assert labels_of(data, "test") == [0] * 9 + [1] * 10


def test_skipped_images_are_not_predicted(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    damage_some(tmp_path)
    data = ImageFolderDataModule(tmp_path, on_error="skip", val_split=0, batch_size=4)
    data.setup("predict")
    numbers = [number for batch in data.predict_dataloader() for number in batch.targets.tolist()]
    assert numbers == [0, 1, *range(3, 20)]


def labels_of(data, name):
    split = data.split(name)
    return split.targets[split.indices].tolist()


@pytest.mark.parametrize("resident", ["cpu", False])
def test_a_file_that_breaks_moves_no_other_image_to_another_split(tmp_path, resident):
    write_folders(tmp_path, ["train", "test"], n=30)
    options = {"on_error": "skip", "val_split": 0.3, "batch_size": 4, "resident": resident}
    before, after = ImageFolderDataModule(tmp_path, **options), ImageFolderDataModule(tmp_path, **options)
    before.setup("fit")
    (tmp_path / "train" / "cat" / "007.png").write_text("not an image")
    after.setup("fit")
    for name in "train", "val":
        was, now = (set(data.split(name).indices.tolist()) for data in (before, after))
        assert was - now <= {7}
        assert not now - was


def test_a_random_resized_crop_is_cut_from_whole_files_whatever_fits_in_memory(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    for crop, images in (0.0, torch.Tensor), (0.5, ImageFiles):
        data = ImageFolderDataModule(tmp_path, augment=Augmentation(resized_crop=crop))
        assert isinstance(data.split("train").images, images)


def test_a_link_to_nothing_is_named_or_skipped(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    (tmp_path / "train" / "cat" / "link.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"cannot read the image '.*link\.png': No such file or directory"):
        ImageFolderDataModule(tmp_path).setup("fit")
    data = ImageFolderDataModule(tmp_path, on_error="skip", val_split=0, batch_size=4)
    data.setup("fit")
    assert len(data.split("train")) == 20


def test_a_new_loader_ends_the_workers_of_the_old_one(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    others = set(multiprocessing.active_children())
    data = ImageFolderDataModule(tmp_path, resident=False, num_workers=1, batch_size=4)
    for _ in range(3):
        list(data.train_dataloader())
    assert len(set(multiprocessing.active_children()) - others) == 1
    data.teardown("fit")
    assert set(multiprocessing.active_children()) <= others


def test_skipped_images_are_counted_once_in_the_end(tmp_path, said):
    write_folders(tmp_path, ["train", "test"])
    names = damage_some(tmp_path)
    data = ImageFolderDataModule(tmp_path, on_error="skip", val_split=0, batch_size=4)
    data.setup("fit")
    data.teardown("fit")
    assert said() == summary(names)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_images_skipped_by_workers_are_counted_once_in_the_end(tmp_path, said, num_workers):
    write_folders(tmp_path, ["train", "test"])
    names = damage_some(tmp_path)
    data = ImageFolderDataModule(
        tmp_path, on_error="skip", resident=False, num_workers=num_workers, val_split=0, batch_size=20
    )
    data.setup("fit")
    training, testing = data.train_dataloader(), data.test_dataloader()
    for _ in range(2):
        ((images, targets),) = batches(data, training)
        assert images.shape == (18, 3, 6, 6)
        assert sorted(targets.tolist()) == [0] * 9 + [1] * 9
        ((images, targets),) = batches(data, testing)
        assert images.shape == (19, 3, 6, 6)
        assert targets.tolist() == [0] * 9 + [1] * 10
    assert said() == []
    data.teardown("fit")
    assert said() == summary(names)


def test_nothing_is_said_where_nothing_was_skipped(tmp_path, said):
    write_folders(tmp_path, ["train", "test"])
    data = ImageFolderDataModule(tmp_path, on_error="skip", batch_size=4)
    data.setup("fit")
    data.teardown("fit")
    assert said() == []


@pytest.mark.parametrize("resident", ["auto", False])
def test_the_first_image_can_be_skipped_as_well_where_a_size_is_given(tmp_path, resident):
    write_folders(tmp_path, ["train", "test"])
    for part in ("train", "test"):
        (tmp_path / part / "cat" / "000.png").write_text("not an image")
    data = ImageFolderDataModule(
        tmp_path, on_error="skip", image_size=6, resident=resident, num_workers=0, val_split=0, batch_size=10
    )
    data.setup("fit")
    found = batches(data, data.test_dataloader())
    assert torch.cat([targets for _, targets in found]).tolist() == [0] * 9 + [1] * 10


class Mean(LightningModule):
    """A net of two numbers."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(1, 2)

    def training_step(self, batch, batch_idx):
        images, targets = batch
        return torch.nn.functional.cross_entropy(self.linear(images.mean((1, 2, 3))[:, None]), targets)

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_no_worker_is_left_when_a_run_has_ended(tmp_path):
    # A trainer and its loaders refer to each other: as garbage, they would be collected much later, and slowly.
    write_folders(tmp_path, ["train", "test"])
    others = set(multiprocessing.active_children())
    data = ImageFolderDataModule(tmp_path, image_size=6, resident=False, num_workers=1, batch_size=4)
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Mean(), datamodule=data)
    assert trainer.global_step == 2 * (18 // 4)
    assert set(multiprocessing.active_children()) <= others
