import os
import pickle
import time

import numpy as np
import pytest
import torch
from PIL import Image

from image_files import random_pixels, write_images, write_sizes
from resnet_lightning import InputError
from resnet_lightning.data.augmentation.boxes import Boxes
from resnet_lightning.data.loading.decode import UnreadableImage
from resnet_lightning.data.loading.files import FileNames, ImageFiles, list_images, walk_images

NAMES = {
    "none": [],
    "one": ["a.png"],
    "plain": ["train/cat/1.png", "train/cat/10.png", "b", "train/dog/2.png"],
    "unicode": ["Katze/süß.png", "猫/一.jpg", "🐈.png", "e\u0301.png", "\u00e9.png"],
    "odd": ["a b.png", "a\nb.png", "'.png", "\\.png", "-"],
    "not UTF-8": [os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"\xff\xfe/\x80"), "plain.png"],
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_names_are_returned_unchanged(names):
    found = FileNames(iter(names))
    assert len(found) == len(names)
    assert list(found) == names
    assert [found[number] for number in range(len(names))] == names
    assert [found[number] for number in np.arange(len(names))] == names
    assert list(pickle.loads(pickle.dumps(found))) == names  # as for a worker process


def test_a_name_beyond_the_last_is_an_index_error():
    names = FileNames(["a", "b"])
    for number in (2, -1):
        with pytest.raises(IndexError):
            names[number]


def test_many_names_take_little_memory():
    names = FileNames(f"{number:08}.png" for number in range(10_000))
    assert len(pickle.dumps(names)) < 10_000 * (12 + 8) + 1000


# Listing.


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_images_are_listed_by_name_folder_by_folder(tmp_path):
    names = ["B.png", "a.png", "b/a.png", "b/c/z.png", "b/d.png", "c.jpg", "é.png"]
    touch(tmp_path, *reversed(names))
    assert list_images(tmp_path) == [str(tmp_path / name) for name in names]
    assert list(walk_images(str(tmp_path))) == list_images(tmp_path)


def test_image_extensions_match_in_either_case(tmp_path):
    images = ["a.bmp", "a.GIF", "a.JPEG", "a.jpg", "a.pgm", "a.png", "a.PNG", "a.ppm", "a.Tif", "a.tiff", "a.webp"]
    touch(tmp_path, *images, "a.txt", "a.png.bak", "png", "a.npy", "jpg.zip", "Thumbs.db")
    assert {name.removeprefix(f"{tmp_path}/") for name in list_images(tmp_path)} == set(images)


def test_hidden_files_and_folders_are_skipped(tmp_path):
    # Such as ``._a.png``, which macOS writes beside ``a.png`` on other file systems, and ``.ipynb_checkpoints``.
    touch(tmp_path, "a.png", "._a.png", ".hidden.png", ".folder/b.png", "c/.d/e.png", "c/f.png")
    assert list_images(tmp_path) == [str(tmp_path / name) for name in ("a.png", "c/f.png")]


def test_links_are_followed(tmp_path):
    touch(tmp_path, "there/x.png", "here/b.png")
    (tmp_path / "here" / "a.png").symlink_to(tmp_path / "there" / "x.png")
    (tmp_path / "here" / "c").symlink_to(tmp_path / "there")
    assert list_images(tmp_path / "here") == [str(tmp_path / "here" / name) for name in ("a.png", "b.png", "c/x.png")]


def test_a_missing_folder_or_one_without_images_is_named(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=rf"there is no image in '{tmp_path}' \(looked for \.jpg \.jpeg"):
        list_images(tmp_path)
    for name in ("absent", "notes.txt"):
        with pytest.raises(InputError, match=f"there is no folder '{tmp_path / name}'"):
            list_images(tmp_path / name)


# Reading.


def test_a_file_name_that_is_not_utf8_is_read(tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Image.fromarray(random_pixels(1)).save(tmp_path / "x.png")
    os.rename(os.fsencode(tmp_path / "x.png"), name)
    files = ImageFiles(FileNames(list_images(tmp_path)), None, 0, 3)
    assert files.shape == (6, 6, 3)
    assert (files.read(0).permute(1, 2, 0).numpy() == random_pixels(1)).all()
    assert len(files.fingerprint()) == 32


@pytest.mark.parametrize(("size", "shorter_side"), [(6, 9), (20, 20)])
def test_reading_scales_the_shorter_side_and_cuts_the_middle_like_pillow(tmp_path, size, shorter_side):
    names = write_sizes(tmp_path, 8)
    files = ImageFiles(FileNames(names), size, shorter_side, 3)
    assert files.shape == (size, size, 3)
    for number, name in enumerate(names):
        with Image.open(name) as image:
            sides = [max(shorter_side, round(side * shorter_side / min(image.size))) for side in image.size]
            left, top = ((side - size) // 2 for side in sides)
            scaled = image.resize(sides, Image.Resampling.BILINEAR)
            expected = np.asarray(scaled.crop((left, top, left + size, top + size))).astype(int)
        # Pillow rounds after each of its two passes.
        assert np.abs(files.read(number).permute(1, 2, 0).numpy() - expected).max() <= 1


def test_images_of_one_size_are_read_unchanged(tmp_path):
    pixels = write_images(tmp_path, 3, size=(5, 8))
    files = ImageFiles(FileNames(list_images(tmp_path)), None, 0, 3)
    assert len(files) == 3
    assert files.shape == (5, 8, 3)
    assert files.nbytes == 3 * 5 * 8 * 3
    for number in range(3):
        assert (files.read(number).permute(1, 2, 0).numpy() == pixels[number]).all()


def test_grayscale_images_have_one_channel(tmp_path):
    pixels = random_pixels(0)[..., 0]
    Image.fromarray(pixels).save(tmp_path / "x.png")
    files = ImageFiles(FileNames([str(tmp_path / "x.png")]), 6, 6, 1)
    assert files.shape == (6, 6, 1)
    assert (files.read(0)[0].numpy() == pixels).all()


def test_an_image_of_another_size_than_the_first_is_named(tmp_path):
    names = write_sizes(tmp_path, 2)
    with pytest.raises(InputError) as caught:
        ImageFiles(FileNames(names), None, 0, 3).read(1)
    assert str(caught.value) == (
        f"the images differ in size: {names[0]!r} is 8x9 and {names[1]!r} is 9x14; give one size with --data.image_size"
    )


def test_a_box_is_cut_from_the_whole_file_and_scaled(tmp_path):
    pixels = np.zeros((30, 40, 3), np.uint8)
    pixels[10:20, 24:32] = (10, 200, 30)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    asked = []

    def draw(heights, widths):
        asked.append((heights.tolist(), widths.tolist()))
        return Boxes(*(np.array([value]) for value in (10, 24, 10, 8)))

    found = ImageFiles(FileNames([str(tmp_path / "x.png")]), 6, 8, 3).read_box(0, draw)
    assert asked == [([30], [40])]
    assert found.shape == (3, 6, 6)
    assert (found == torch.tensor([10, 200, 30]).view(3, 1, 1)).all()


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_read_all_keeps_the_given_order(tmp_path, on_error):
    pixels = np.stack(write_images(tmp_path, 30))
    files = ImageFiles(FileNames(list_images(tmp_path)), 6, 6, 3)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))[:20].tolist()
    images, readable = files.read_all(iter(order), on_error)
    assert images.is_contiguous()
    assert (images.numpy() == pixels[order]).all()
    assert readable.tolist() == [True] * 20


def test_skipping_marks_the_images_that_cannot_be_read(tmp_path):
    pixels = np.stack(write_images(tmp_path, 6))
    names = list_images(tmp_path)
    files = ImageFiles(FileNames(names), 6, 6, 3)
    for number in (1, 4):
        (tmp_path / f"{number:03}.png").write_text("not an image")
    images, readable = files.read_all([5, 4, 3, 1, 0], on_error="skip")
    assert readable.tolist() == [True, False, True, False, True]
    assert (images[readable].numpy() == pixels[[5, 3, 0]]).all()
    assert not images[~readable].any()
    with pytest.raises(UnreadableImage) as caught:
        files.read_all([5, 4, 3, 1, 0])
    assert str(caught.value).startswith(f"cannot read the image {names[4]!r}")
    nothing, readable = files.read_all([4, 1], on_error="skip")
    assert not nothing.any()
    assert readable.tolist() == [False, False]


def test_reading_no_images_gives_an_empty_array():
    images, readable = ImageFiles(FileNames([]), None, 0, 3).read_all([])
    assert images.shape == (0, 0, 0, 3)
    assert readable.shape == (0,)
    assert ImageFiles(FileNames([]), None, 0, 3).nbytes == 0


# The fingerprint.


def fingerprint(folder, size=6, shorter_side=6, channels=3):
    return ImageFiles(FileNames(list_images(folder)), size, shorter_side, channels).fingerprint()


def test_a_fingerprint_is_stable_while_the_files_are(tmp_path):
    write_images(tmp_path, 3)
    first = fingerprint(tmp_path)
    assert set(first) <= set("0123456789abcdef")
    assert len(first) == 32
    ImageFiles(FileNames(list_images(tmp_path)), 6, 6, 3).read_all(range(3))
    (tmp_path / "notes.txt").write_text("beside them")
    assert fingerprint(tmp_path) == first


def rewrite(folder):
    Image.fromarray(random_pixels(77)).save(folder / "001.png")


def rewrite_in_the_same_size(folder):
    file = folder / "001.png"
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)


def rewrite_and_set_the_time_back(folder):
    before = (folder / "001.png").stat()
    rewrite_in_the_same_size(folder)
    os.utime(folder / "001.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    after = (folder / "001.png").stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def replace_by_a_copy_of_the_same_time(folder):
    before = (folder / "001.png").stat()
    (folder / "new").write_bytes((folder / "002.png").read_bytes().ljust(before.st_size, b"\0")[: before.st_size])
    os.utime(folder / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "new").replace(folder / "001.png")


@pytest.mark.parametrize(
    "change",
    [
        rewrite,
        rewrite_in_the_same_size,
        rewrite_and_set_the_time_back,
        replace_by_a_copy_of_the_same_time,
        lambda folder: os.utime(folder / "001.png", (1, 1)),
        lambda folder: (folder / "001.png").rename(folder / "001b.png"),
        lambda folder: (folder / "001.png").unlink(),
        lambda folder: write_images(folder / "more", 1),
    ],
    ids=["content", "same size", "time set back", "replaced", "touched", "renamed", "removed", "added"],
)
def test_a_fingerprint_changes_with_the_files(tmp_path, change):
    write_images(tmp_path, 3)
    first = fingerprint(tmp_path)
    time.sleep(0.02)  # file systems have a clock of a few milliseconds
    change(tmp_path)
    assert fingerprint(tmp_path) != first


def test_a_fingerprint_changes_with_the_reading_options(tmp_path):
    write_images(tmp_path, 3)
    options = [{}, {"size": 5}, {"size": None, "shorter_side": 0}, {"shorter_side": 7}, {"channels": 1}]
    assert len({fingerprint(tmp_path, **option) for option in options}) == len(options)


def test_the_order_of_the_files_is_part_of_the_fingerprint(tmp_path):
    write_images(tmp_path, 3)
    names = list_images(tmp_path)
    forth, back = (ImageFiles(FileNames(order), 6, 6, 3).fingerprint() for order in (names, names[::-1]))
    assert forth != back
