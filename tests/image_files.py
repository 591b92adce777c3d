"""Writes small image files, whole and damaged."""

import numpy as np
from PIL import Image


def random_pixels(seed, height=6, width=6):
    """A random color image, (height, width, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write_images(folder, n, seed=0, size=(6, 6)):
    """Writes ``n`` random color images and returns their pixels, in the order of the file names."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = [random_pixels(1000 * seed + number, *size) for number in range(n)]
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number:03}.png")
    return pixels


def write_folders(root, parts, n=10):
    """Writes ``root/<part>/{cat,dog}`` and returns the pixels of each part: all cats, then all dogs."""
    return {
        part: write_images(root / part / "cat", n, seed=2 * number)
        + write_images(root / part / "dog", n, 2 * number + 1)
        for number, part in enumerate(parts)
    }


def write_sizes(folder, n):
    """Writes ``n`` random color images, no two of the same size, and returns their file names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [str(folder / f"{number:03}.png") for number in range(n)]
    for number, name in enumerate(names):
        Image.fromarray(random_pixels(number, 9 + 5 * number % 7, 8 + number)).save(name)
    return names


# Damaged files.


def truncated_jpeg(file):
    Image.fromarray(random_pixels(3, 64, 64)).save(file, quality=95)
    file.write_bytes(file.read_bytes()[:1500])


def truncated_png(file):
    Image.fromarray(random_pixels(3)).save(file)
    file.write_bytes(file.read_bytes()[:-40])


def png_with_a_corrupt_header(file):
    Image.fromarray(random_pixels(3)).save(file)
    content = bytearray(file.read_bytes())
    content[11] = 5  # the length of the header
    file.write_bytes(content)


def png_with_a_corrupt_middle(file):
    Image.fromarray(random_pixels(3, 200, 200)).save(file)  # large enough for a second chunk of pixels
    start, _, rest = file.read_bytes().rpartition(b"IDAT")
    file.write_bytes(start + b"\0\0\0\0" + rest)


def text(file):
    file.write_text("not an image")


def empty(file):
    file.write_bytes(b"")


# A file name, and the function that writes a damaged file of that name.
DAMAGES = [
    ("truncated.jpg", truncated_jpeg),
    ("truncated.png", truncated_png),
    ("header.png", png_with_a_corrupt_header),
    ("middle.png", png_with_a_corrupt_middle),
    ("text.png", text),
    ("empty.webp", empty),
]
DAMAGE_IDS = [name for name, _ in DAMAGES]
