import contextlib
import logging
import os
import resource
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

from resnet_lightning.data.loading.cache import DecodedCache, default_cache_folder

DAY = 24 * 3600


def array(seed, n=250):
    """4 ``n`` bytes."""
    return torch.randint(0, 256, (n, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def fingerprint(number):
    return f"{number:032x}"


def stored(folder, *numbers, limit=10**6):
    """A cache that holds the arrays of these numbers."""
    cache = DecodedCache(folder, limit)
    for number in numbers:
        cache.store(fingerprint(number), array(number))
    return cache


def held(folder, numbers=range(10)):
    """Which of the numbers are in the folder; without using them."""
    return [number for number in numbers if list(folder.glob(f"{fingerprint(number)}.*.npy"))]


@pytest.fixture
def said(caplog):
    """The cache's warnings."""
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("resnet_lightning")]


@pytest.mark.parametrize("shape", [(3, 4, 5, 3), (1, 1, 1, 1), (0, 4, 4, 3), (7,)])
def test_an_array_comes_back_as_it_was(tmp_path, said, shape):
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    DecodedCache(tmp_path / "deep" / "er", 10**6).store(fingerprint(1), pixels)
    found = DecodedCache(tmp_path / "deep" / "er", 10**6).load(fingerprint(1))
    assert found.dtype == torch.uint8
    assert found.shape == shape
    assert torch.equal(found, pixels)
    assert said() == []


def test_what_is_not_there_is_none(tmp_path, said):
    assert DecodedCache(tmp_path / "absent", 10**6).load(fingerprint(1)) is None
    assert stored(tmp_path, 1).load(fingerprint(2)) is None
    assert said() == []


def test_an_array_of_another_layout_in_memory_comes_back(tmp_path):
    pixels = array(1).permute(3, 0, 2, 1)
    cache = stored(tmp_path)
    cache.store(fingerprint(1), pixels)
    assert torch.equal(cache.load(fingerprint(1)), pixels)


def test_writing_to_a_loaded_array_leaves_the_file_alone(tmp_path):
    cache = stored(tmp_path, 1)
    cache.load(fingerprint(1)).zero_()
    assert torch.equal(cache.load(fingerprint(1)), array(1))


def test_the_usual_folder_is_the_users_cache(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache_folder() == Path("/somewhere/resnet_lightning")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert default_cache_folder() == Path.home() / ".cache" / "resnet_lightning"


# Damage.


def flip(place):
    def damage(content):
        content[place] ^= 4
        return content

    return damage


DAMAGES = {
    "truncated": lambda content: content[:-1],
    "truncated to half": lambda content: content[: len(content) // 2],
    "truncated to the header": lambda content: content[:128],
    "truncated in the header": lambda content: content[:60],
    "empty": lambda content: b"",
    "longer": lambda content: b"\0" * 4096 + content,
    "web page": lambda content: b"<html>" * 100,
    "a bit of the magic number": flip(3),
    "a bit of the header's length": flip(8),
    "a bit of the header": flip(25),
    "a bit of the first pixel": flip(128),
    "a bit of the last pixel": flip(-1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_warned_of_removed_and_written_anew(tmp_path, said, damage):
    cache = stored(tmp_path, 1)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(bytearray(file.read_bytes())))
    assert cache.load(fingerprint(1)) is None
    assert said() == [f"the cached images {file} are damaged; they are decoded anew"]
    assert list(tmp_path.iterdir()) == []
    cache.store(fingerprint(1), array(1))
    assert torch.equal(cache.load(fingerprint(1)), array(1))
    assert len(said()) == 1


def test_no_flipped_bit_of_a_header_gives_another_array(tmp_path, caplog):
    caplog.set_level("ERROR")  # a thousand warnings
    cache = stored(tmp_path, 1)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    for place in range(128):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            file.write_bytes(flipped)
            found = cache.load(fingerprint(1))
            assert found is None or torch.equal(found, array(1))  # such as where a space became another one


def test_another_array_under_the_name_is_damage(tmp_path, said):
    cache = stored(tmp_path, 1, 2)
    first, second = sorted(tmp_path.iterdir())
    second.replace(first)
    assert cache.load(fingerprint(1)) is None
    assert len(said()) == 1


# Room.


def use(cache, number, age):
    """Makes an array one that was used so many seconds ago."""
    (file,) = cache.folder.glob(f"{fingerprint(number)}.*")
    then = time.time() - age
    os.utime(file, (then, then))


def test_those_used_longest_ago_go_first(tmp_path, said):
    cache = stored(tmp_path, 1, 2, 3, limit=3 * 1200)
    for number, age in ((1, 300), (2, 200), (3, 100)):
        use(cache, number, age)
    assert cache.load(fingerprint(1)) is not None  # used just now
    cache.store(fingerprint(4), array(4))
    assert held(tmp_path) == [1, 3, 4]
    cache.store(fingerprint(5), array(5))
    assert held(tmp_path) == [1, 4, 5]
    cache.store(fingerprint(6), array(6, 550))  # as large as two of them
    assert held(tmp_path) == [5, 6]
    assert torch.equal(cache.load(fingerprint(5)), array(5))
    assert said() == []


def test_no_more_is_removed_than_has_to_be(tmp_path):
    cache = stored(tmp_path, 1, 2, 3, limit=4 * 1200)
    cache.store(fingerprint(4), array(4))
    assert held(tmp_path) == [1, 2, 3, 4]


@pytest.mark.parametrize("limit", [1127, 1128, 2255, 2256, 2300, 3500, 4400, 4512])
def test_the_folder_never_becomes_larger_than_its_limit(tmp_path, limit):
    for number in range(1, 7):
        stored(tmp_path, number, limit=limit)
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= limit
    assert len(held(tmp_path)) == limit // 1128  # the size of a file


@pytest.mark.parametrize("limit", [0, 900, 2000])
def test_an_array_larger_than_the_limit_is_not_stored_and_nothing_removed_for_it(tmp_path, caplog, limit):
    caplog.set_level(logging.INFO, logger="resnet_lightning")
    stored(tmp_path, 1)
    stored(tmp_path, limit=limit).store(fingerprint(2), array(2, n=1000))
    assert held(tmp_path) == [1]
    assert ["are not cached" in line for line in caplog.messages] == [True] * (limit > 0)


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    cache = stored(tmp_path, 1, 2, limit=1200)
    assert held(tmp_path) == [2]
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert cache.limit == 1200


def test_files_that_no_one_finishes_are_removed_after_a_day(tmp_path):
    for name, age in (("old.part", DAY + 60), ("new.part", DAY - 60)):
        (tmp_path / name).write_bytes(b"half of it")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    stored(tmp_path, 1)
    assert [file.name for file in tmp_path.glob("*.part")] == ["new.part"]
    assert held(tmp_path) == [1]


# Folders that cannot be written to.


@contextlib.contextmanager
def files_of_at_most(size):
    """As on a disk that is full: to write more to a file fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def someone_else():
    """Root may write everywhere, and so becomes someone else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def foreign_folder():
    """A folder that all may read and, unless ``tmp_path``, enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
        os.chmod(folder, 0o755)


def attempts(cache):
    """Stores three arrays, and looks for them."""
    for number in (1, 2, 3):
        cache.store(fingerprint(number), array(number))
    return [cache.load(fingerprint(number)) for number in (1, 2, 3)]


@pytest.mark.parametrize("place", ["file", "file/cache", "file/deep/cache"])
def test_a_folder_that_cannot_be_made_is_said_once(tmp_path, said, place):
    (tmp_path / "file").write_text("not a folder")
    assert attempts(DecodedCache(tmp_path / place, 10**6)) == [None] * 3
    (line,) = said()
    assert line.startswith(f"decoded images are not cached in {tmp_path / place}: ")
    assert "\n" not in line
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_read_only_folder_is_said_once(foreign_folder, said):
    foreign_folder.chmod(0o555)
    with someone_else():
        assert attempts(DecodedCache(foreign_folder, 10**6)) == [None] * 3
    assert said() == [f"decoded images are not cached in {foreign_folder}: Permission denied"]
    assert list(foreign_folder.iterdir()) == []


@pytest.mark.parametrize("room", [0, 100, 128, 600, 999, 1100])
def test_a_full_disk_is_said_once_and_no_part_of_a_file_is_left(tmp_path, said, room):
    cache = DecodedCache(tmp_path, 10**6)
    with files_of_at_most(room):
        assert attempts(cache) == [None] * 3
    (line,) = said()
    assert line.startswith(f"decoded images are not cached in {tmp_path}: ")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_what_was_there(tmp_path):
    cache = stored(tmp_path, 1)
    with files_of_at_most(500):
        cache.store(fingerprint(2), array(2))
    assert held(tmp_path) == [1]
    assert torch.equal(cache.load(fingerprint(1)), array(1))


# Several who use one folder.


def test_what_someone_else_stored_in_a_folder_that_may_be_read_alone_is_loaded(foreign_folder, said):
    stored(foreign_folder, 1)
    foreign_folder.chmod(0o555)
    with someone_else():
        assert torch.equal(DecodedCache(foreign_folder, 10**6).load(fingerprint(1)), array(1))
    assert said() == []


def test_others_may_read_a_stored_file_as_far_as_the_umask_lets_them(tmp_path):
    before = os.umask(0o027)
    try:
        stored(tmp_path, 1)
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


STORE_TOGETHER = """
import sys, time
from pathlib import Path
import torch
from resnet_lightning.data.loading.cache import DecodedCache

folder, me = Path(sys.argv[1]), int(sys.argv[2])
cache = DecodedCache(folder / "cache", 10**9)
(folder / f"ready{me}").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
for turn in range(8):
    for number in (0, 1 + turn, 100 * me + turn):
        cache.store(f"{number:032x}", torch.full((500_000,), number % 251, dtype=torch.uint8))
"""


def test_processes_that_store_at_the_same_time_leave_whole_files(tmp_path, said):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STORE_TOGETHER, str(tmp_path), str(me)], stderr=subprocess.PIPE, text=True
        )
        for me in (1, 2)
    ]
    while not all((tmp_path / f"ready{me}").exists() for me in (1, 2)):
        assert [process.poll() for process in processes] == [None, None]
        time.sleep(0.01)
    (tmp_path / "go").touch()
    cache = DecodedCache(tmp_path / "cache", 10**9)
    seen = 0
    while any(process.poll() is None for process in processes):
        for number in (0, 7):
            found = cache.load(fingerprint(number))
            if found is not None:
                seen += 1
                assert found.shape == (500_000,)
                assert found.unique().tolist() == [number]
    assert [process.communicate()[1] for process in processes] == ["", ""]
    assert seen > 0
    numbers = {0, *range(1, 9), *range(100, 108), *range(200, 208)}
    files = list((tmp_path / "cache").iterdir())
    assert len(files) == len(numbers)
    for number in numbers:
        assert cache.load(fingerprint(number)).unique().tolist() == [number % 251]
    assert said() == []
