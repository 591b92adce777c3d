import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from data_modules import as_bytes, one_line, pixels_of
from image_files import DAMAGE_IDS, DAMAGES, random_pixels, write_folders, write_images
from resnet_lightning import Augmentation, ImageFolderDataModule, InputError

# The layout of a folder.


def test_the_folders_train_val_and_test_are_the_splits(tmp_path):
    written = write_folders(tmp_path, ["train", "val", "test"])
    data = ImageFolderDataModule(tmp_path)
    assert data.class_names == ("cat", "dog")
    for part, images in written.items():
        assert pixels_of(data, part) == as_bytes(images)
        assert data.split(part).targets.tolist() == [0] * 10 + [1] * 10


@pytest.mark.parametrize("part", ["test", "val"])
def test_with_one_folder_beside_train_it_is_the_test_set(tmp_path, part):
    written = write_folders(tmp_path, ["train", part])
    data = ImageFolderDataModule(tmp_path, val_split=0.2)
    assert pixels_of(data, "test") == as_bytes(written[part])
    assert len(data.split("val")) == 4
    assert sorted(pixels_of(data, "train") + pixels_of(data, "val")) == sorted(as_bytes(written["train"]))


@pytest.mark.parametrize("place", [".", "train"])
def test_with_class_folders_only_every_fifth_image_is_a_test_image(tmp_path, place):
    cats, dogs = (write_images(tmp_path / place / name, n, seed=n) for name, n in (("cat", 12), ("dog", 9)))
    data = ImageFolderDataModule(tmp_path, val_split=0.2)
    test = [cats[4], cats[9], dogs[4]]
    assert pixels_of(data, "test") == as_bytes(test)
    assert data.split("test").targets.tolist() == [0, 0, 1]
    assert len(data.split("val")) == 2 + 2
    remaining = set(as_bytes(cats + dogs)) - set(as_bytes(test))
    assert sorted(pixels_of(data, "train") + pixels_of(data, "val")) == sorted(remaining)


def test_chosen_classes_of_folders_are_numbered_in_the_order_given(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    bats = {part: write_images(tmp_path / part / "bat", 3, seed=9 + len(part)) for part in ("train", "test")}
    data = ImageFolderDataModule(tmp_path, classes=["dog", "bat"])
    assert data.all_classes == ("bat", "cat", "dog")
    split = data.split("test")
    assert sorted(split.targets.tolist()) == [0] * 10 + [1] * 3
    assert as_bytes(split.images[split.targets == 1].numpy()) == as_bytes(bats["test"])
    assert data.name_of("test", split.targets.tolist().index(1)) == "test/bat/000.png"
    streamed = ImageFolderDataModule(tmp_path, classes=["dog", "bat"], resident=False).split("test")
    assert torch.equal(streamed.targets, split.targets)
    assert torch.equal(streamed.images.read_all(streamed.indices.tolist())[0], split.images)


def test_images_in_subfolders_are_found_and_other_files_are_ignored(tmp_path):
    write_folders(tmp_path, ["train", "test"], n=2)
    deep = write_images(tmp_path / "train" / "cat" / "deep" / "deeper", 1, seed=50)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "cat" / "000.png").rename(tmp_path / "train" / "cat" / "000.PNG")
    data = ImageFolderDataModule(tmp_path, val_split=0)
    assert data.class_names == ("cat", "dog")
    assert len(data.split("train")) == 5
    assert as_bytes(deep)[0] in pixels_of(data, "train")


def test_image_size_scales_the_shorter_side_and_cuts_out_the_middle(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    # Three bands of color, of which the middle one fills the square.
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


def test_image_size_leaves_images_of_that_size_unchanged(tmp_path):
    written = write_folders(tmp_path, ["train", "test"])
    assert pixels_of(ImageFolderDataModule(tmp_path, image_size=6), "test") == as_bytes(written["test"])


def test_images_that_differ_in_size_are_named(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    write_images(tmp_path / "train" / "dog", 1, size=(5, 7))
    odd, first = tmp_path / "train" / "dog" / "000.png", tmp_path / "train" / "cat" / "000.png"
    with pytest.raises(InputError) as caught:
        ImageFolderDataModule(tmp_path).setup("fit")
    assert one_line(caught) == (
        f"the images differ in size: '{first}' is 6x6 and '{odd}' is 7x5; give one size with --data.image_size"
    )


def test_test_images_of_another_size_than_the_training_images_are_refused(tmp_path):
    write_folders(tmp_path, ["train"])
    write_images(tmp_path / "test" / "cat", 5, size=(5, 7))
    with pytest.raises(InputError) as caught:
        ImageFolderDataModule(tmp_path).setup("fit")
    assert one_line(caught) == (
        "the test images are 7x5, but the training images are 6x6; give one size with --data.image_size"
    )


@pytest.mark.parametrize(("name", "write"), DAMAGES, ids=DAMAGE_IDS)
def test_an_unreadable_image_is_named(tmp_path, name, write):
    for part in ("train", "test"):
        for animal in ("dog", "zebra"):
            write_images(tmp_path / part / animal, 3, size=(64, 64))
    # Where no size is given, the first image gives it, in another function.
    for place, size in (("zebra", None), ("cat", None), ("cat", 64)):
        file = tmp_path / "train" / place / name
        file.parent.mkdir(exist_ok=True)
        write(file)
        with pytest.raises(InputError) as caught:
            ImageFolderDataModule(tmp_path, image_size=size).setup("fit")
        assert one_line(caught) == (
            f"cannot read the image '{file}': it is damaged or not an image; replace or remove it"
        )
        file.unlink()


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


def test_val_and_test_without_train_are_not_classes(tmp_path):
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
def test_a_class_without_training_images_is_named(tmp_path, part):
    write_folders(tmp_path, ["train", "val", "test"], n=1)
    write_images(tmp_path / part / "emu", 1)
    with pytest.raises(InputError, match=f"'{tmp_path}/{part}' has a class that the training images lack: 'emu'"):
        ImageFolderDataModule(tmp_path)


def test_a_test_set_may_lack_a_class(tmp_path):
    written = write_folders(tmp_path, ["train", "test"])
    shutil.rmtree(tmp_path / "test" / "cat")
    data = ImageFolderDataModule(tmp_path)
    assert pixels_of(data, "test") == as_bytes(written["test"][10:])
    assert data.split("test").targets.tolist() == [1] * 10


def test_too_few_images_for_a_test_set_are_refused_when_testing(tmp_path):
    for animal in ("cat", "dog"):
        write_images(tmp_path / animal, 4)
    with pytest.raises(InputError, match="no test images"):
        ImageFolderDataModule(tmp_path).setup("test")


def test_a_link_to_a_missing_file_is_named_or_skipped(tmp_path):
    write_folders(tmp_path, ["train", "test"])
    (tmp_path / "train" / "cat" / "link.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"cannot read the image '.*link\.png': No such file or directory"):
        ImageFolderDataModule(tmp_path).setup("fit")
    data = ImageFolderDataModule(tmp_path, on_error="skip", val_split=0, batch_size=4)
    data.setup("fit")
    assert len(data.split("train")) == 20


def test_predicted_images_get_the_size_of_the_training_images(tmp_path):
    write_folders(tmp_path / "data", ["train", "test"])
    (tmp_path / "new").mkdir()
    for number, size in enumerate([(30, 20), (9, 9), (6, 6)]):
        Image.new("RGB", size, (10, 20, 30)).save(tmp_path / "new" / f"{number}.png")
    files = ImageFolderDataModule(tmp_path / "data", predict_folder=tmp_path / "new").split("predict").images
    images, _ = files.read_all(range(3))
    assert images.shape == (3, 6, 6, 3)
    assert (images == torch.tensor([10, 20, 30])).all()


# Errors in the layout.


def test_images_without_class_folders_have_a_message_of_their_own(tmp_path):
    write_folders(tmp_path, ["train"])
    (tmp_path / "val").mkdir()
    Image.fromarray(random_pixels(0)).save(tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(InputError) as caught:
        ImageFolderDataModule(tmp_path)
    assert one_line(caught) == (
        f"there are no class folders in '{tmp_path}/val'; its images, such as 'ILSVRC2012_val_00000001.JPEG', lie in "
        "it directly; sort them into folders of the classes' names (ImageNet's val is distributed like this, "
        "with the labels in a separate file)"
    )


@pytest.mark.parametrize(
    ("place", "name"),
    [(".", "n01440764.tar"), ("train", "n01440764.tar.gz"), ("test", "images.tgz"), (".", "images.zip")],
)
def test_archives_are_to_be_unpacked(tmp_path, place, name):
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
def test_an_empty_part_is_named(tmp_path, part):
    write_folders(tmp_path, ["train"])
    (tmp_path / part).mkdir()
    with pytest.raises(
        InputError, match=f"there are no class folders in '{tmp_path}/{part}'; the images of each class"
    ):
        ImageFolderDataModule(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 10**6}, "data.image_size is 1000000; give the side in pixels, at most 16384"),
        ({"image_size": 20, "shorter_side": 10**8}, "data.shorter_side is 100000000; give the side in pixels"),
        ({"white_level": 1e30}, r"data.white_level is 1e\+30; give the pixel value of white"),
        ({"image_size": 0}, "data.image_size is 0; give the side in pixels"),
        ({"image_size": -3}, "data.image_size is -3; give the side in pixels"),
        ({"num_workers": -1}, r"data.num_workers is -1; give 0 \(none\) or more processes"),
        ({"on_error": "ignore"}, "data.on_error is 'ignore'; give 'raise' or 'skip'"),
        ({"cache_gb": -0.5}, "data.cache_gb is -0.5; give a size in gigabytes, 0 for no cache"),
        ({"cache_gb": float("nan")}, "data.cache_gb is nan; give a size"),
        ({"shorter_side": 8}, "data.shorter_side is 8; set data.image_size as well, to at most this"),
        ({"shorter_side": 5, "image_size": 6}, "data.shorter_side is 5; set data.image_size as well"),
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


def test_folds_are_refused_where_there_is_a_validation_set(tmp_path):
    write_folders(tmp_path, ["train", "val", "test"])
    with pytest.raises(InputError, match="num_folds needs a data set without its own validation images"):
        ImageFolderDataModule(tmp_path, num_folds=2).setup("fit")


@pytest.mark.parametrize("options", [{}, {"image_size": 6}], ids=["size found", "size given"])
def test_a_reflecting_crop_must_fit_the_images(tmp_path, options):
    write_folders(tmp_path, ["train", "test"])
    data = ImageFolderDataModule(tmp_path, batch_size=4, augment=Augmentation(crop=5, pad="reflect"), **options)
    images, _ = next(iter(data.train_dataloader()))
    assert images.shape == (4, 3, 6, 6)
    with pytest.raises(
        InputError, match=r"augment\.crop is 6; with reflect padding, give less than the image's side of 6"
    ):
        ImageFolderDataModule(tmp_path, augment=Augmentation(crop=6, pad="reflect"), **options)


def test_a_link_to_a_folder_around_it_is_left_out(tmp_path):
    write_folders(tmp_path, ["."], n=10)
    (tmp_path / "cat/up").symlink_to("..")
    data = ImageFolderDataModule(tmp_path, cache_gb=0, batch_size=2)
    data.setup("fit")
    assert len(data.split("train")) + len(data.split("val")) + len(data.split("test")) == 20
    (tmp_path / "dog/loop").symlink_to("loop")
    with pytest.raises(InputError, match="cannot read"):
        ImageFolderDataModule(tmp_path, cache_gb=0, batch_size=2).setup("fit")


@pytest.mark.parametrize(("one", "other"), [("caf\u00e9", "cafe\u0301"), ("Cat", "cat")])
def test_classes_that_look_alike_are_named(one, other, tmp_path):
    for folder in f"train/{one}", "train/dog", f"test/{other}", "test/dog":
        write_images(tmp_path / folder, 2)
    with pytest.raises(InputError, match="rename one of them"):
        ImageFolderDataModule(tmp_path, cache_gb=0, batch_size=2).setup("fit")
