"""Finds images that are in several splits, where that costs little."""

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from torch import Tensor

from .fingerprint import end_of
from .loading.files import ImageFiles
from .splits import Split

# Hashing this many bytes of decoded images takes about a second.
_MOST_BYTES = 1_000_000_000
# Of files that are not decoded, the sizes of so many are compared, and the ends of so many of equal size are read.
_MOST_FILES, _MOST_READ = 100_000, 10_000


def shared_images(splits: Mapping[str, Split], name_of: Callable[[str, int], str]) -> str:
    """Returns a line about images that are in several splits; empty if none was found.

    Decoded images are compared by their pixels, unless they have more than 1 GB. Other images are compared by the size
    of their files and their last 4 kB. Images of a single color count as different.

    Args:
        splits: the images of each split, by its name.
        name_of: returns the name of an image of a split.
    """
    places: dict[object, list[tuple[str, int]]] = {}
    for name, key, index in _keys(splits):
        places.setdefault(key, []).append((name, index))
    shared = [found for found in places.values() if len({name for name, _ in found}) > 1]
    if not shared:
        return ""
    counts = Counter(" and ".join(name for name in splits if name in dict(found)) for found in shared)
    what = ", ".join(f"{count:,} in {names}" for names, count in counts.items())
    examples = [" = ".join(name_of(name, index) for name, index in _one_of_each(found)) for found in shared[:2]]
    images = "image is" if len(shared) == 1 else "images are"
    return f"{len(shared):,} {images} in several splits: {what}; such as {', and '.join(examples)}"


def _one_of_each(found: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return [next(pair for pair in found if pair[0] == name) for name in dict.fromkeys(name for name, _ in found)]


def _keys(splits: Mapping[str, Split]) -> Iterator[tuple[str, object, int]]:
    """Yields the split of an image, what identical images have in common, and its number."""
    arrays = {name: split.images for name, split in splits.items() if isinstance(split.images, Tensor)}
    files = {name: split.images for name, split in splits.items() if isinstance(split.images, ImageFiles)}
    sizes = {id(images): images.nbytes for images in arrays.values()}
    if len(arrays) == len(splits) and sum(sizes.values()) <= _MOST_BYTES:
        for name, images in arrays.items():
            for index in splits[name].indices.tolist():
                pixels = images[index].contiguous().numpy()
                if pixels.size and (pixels != pixels.flat[0]).any():
                    yield name, (pixels.shape, hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()), index
    elif len(files) == len(splits) and sum(map(len, splits.values())) <= _MOST_FILES:
        yield from _keys_of_files(splits, files)


def _keys_of_files(splits: Mapping[str, Split], files: Mapping[str, ImageFiles]) -> Iterator[tuple[str, object, int]]:
    by_size: dict[int, list[tuple[str, int]]] = {}
    for name, images in files.items():
        for index in splits[name].indices.tolist():
            try:
                by_size.setdefault(os.stat(images.names[index]).st_size, []).append((name, index))
            except OSError:  # a broken link; reading it raises the error or skips it
                continue
    candidates = [
        (size, *place) for size, found in by_size.items() if len({name for name, _ in found}) > 1 for place in found
    ]
    for size, name, index in itertools.islice(candidates, _MOST_READ):
        yield name, (size, end_of(files[name].names[index])), index
