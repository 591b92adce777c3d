import contextlib
import logging
import multiprocessing
import os
import resource
import stat
import tempfile
import time
from pathlib import Path

import pytest
import torch

from resnet_lightning.data.loading.cache import DecodedCache, default_cache_folder

DAY = 24 * 3600


def array(seed, n=250):
    """A random array of 4 ``n`` bytes."""
    return torch.randint(0, 256, (n, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def fingerprint(number):
    return f"{number:032x}"


def stored(folder, *numbers, limit=10**6):
    """A cache that contains the arrays of these numbers."""
    cache = DecodedCache(folder, limit)
    for number in numbers:
        cache.store(fingerprint(number), array(number))
    return cache


def held(folder, numbers=range(10)):
    """Which of the numbers have a file in the folder. This does not count as a use."""
    return [number for number in numbers if list(folder.glob(f"{fingerprint(number)}.*.npy"))]


@pytest.mark.parametrize("shape", [(3, 4, 5, 3), (1, 1, 1, 1), (0, 4, 4, 3), (7,)])
def test_an_array_is_loaded_unchanged(tmp_path, package_warnings, shape):
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    DecodedCache(tmp_path / "deep" / "er", 10**6).store(fingerprint(1), pixels)
    found = DecodedCache(tmp_path / "deep" / "er", 10**6).load(fingerprint(1))
    assert found.dtype == torch.uint8
    assert found.shape == shape
    assert torch.equal(found, pixels)
    assert package_warnings() == []


def test_a_missing_array_is_none(tmp_path, package_warnings):
    assert DecodedCache(tmp_path / "absent", 10**6).load(fingerprint(1)) is None
    assert stored(tmp_path, 1).load(fingerprint(2)) is None
    assert package_warnings() == []


def test_an_array_of_another_memory_layout_is_loaded_unchanged(tmp_path):
    pixels = array(1).permute(3, 0, 2, 1)
    cache = stored(tmp_path)
    cache.store(fingerprint(1), pixels)
    assert torch.equal(cache.load(fingerprint(1)), pixels)


def test_writing_to_a_loaded_array_leaves_the_file_alone(tmp_path):
    cache = stored(tmp_path, 1)
    cache.load(fingerprint(1)).zero_()
    assert torch.equal(cache.load(fingerprint(1)), array(1))


def test_the_default_folder_is_in_the_users_cache(monkeypatch):
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
def test_a_damaged_file_is_reported_removed_and_written_again(tmp_path, package_warnings, damage):
    cache = stored(tmp_path, 1)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(bytearray(file.read_bytes())))
    assert cache.load(fingerprint(1)) is None
    assert package_warnings() == [f"the cached images {file} are damaged; decoding them again"]
    assert list(tmp_path.iterdir()) == []
    cache.store(fingerprint(1), array(1))
    assert torch.equal(cache.load(fingerprint(1)), array(1))
    assert len(package_warnings()) == 1


def test_no_flipped_bit_of_a_header_gives_another_array(tmp_path, caplog):
    caplog.set_level("ERROR")  # hides a hundred warnings
    cache = stored(tmp_path, 1)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    for place in range(128):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        file.write_bytes(flipped)
        found = cache.load(fingerprint(1))
        assert found is None or torch.equal(found, array(1))  # such as where a space became a tab


def test_another_array_under_the_name_is_damage(tmp_path, package_warnings):
    cache = stored(tmp_path, 1, 2)
    first, second = sorted(tmp_path.iterdir())
    second.replace(first)
    assert cache.load(fingerprint(1)) is None
    assert len(package_warnings()) == 1


# Room.


def use(cache, number, age):
    """Sets the time when an array was last used, in seconds before now."""
    (file,) = cache.folder.glob(f"{fingerprint(number)}.*")
    then = time.time() - age
    os.utime(file, (then, then))


def test_the_least_recently_used_arrays_are_removed_first(tmp_path, package_warnings):
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
    assert package_warnings() == []


def test_nothing_is_removed_while_there_is_room(tmp_path):
    cache = stored(tmp_path, 1, 2, 3, limit=4 * 1200)
    cache.store(fingerprint(4), array(4))
    assert held(tmp_path) == [1, 2, 3, 4]


@pytest.mark.parametrize("limit", [1127, 1128, 2255, 2256])
def test_the_folder_never_exceeds_its_limit(tmp_path, limit):
    for number in range(1, 6):
        stored(tmp_path, number, limit=limit)
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= limit
    assert len(held(tmp_path)) == limit // 1128  # the size of a file


@pytest.mark.parametrize("limit", [0, 2000])
def test_an_array_larger_than_the_limit_is_not_stored_and_removes_nothing(tmp_path, caplog, limit):
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


def test_unfinished_files_are_removed_after_a_day(tmp_path):
    for name, age in (("old.part", DAY + 60), ("new.part", DAY - 60)):
        (tmp_path / name).write_bytes(b"half of it")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    stored(tmp_path, 1)
    assert [file.name for file in tmp_path.glob("*.part")] == ["new.part"]
    assert held(tmp_path) == [1]


# Folders that cannot be written to.


@contextlib.contextmanager
def files_of_at_most(size):
    """Larger writes fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def someone_else():
    """Gives up root's permission to write everywhere for a while."""
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
    """A folder that all users may enter and read, unlike ``tmp_path``."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
        os.chmod(folder, 0o755)


def attempts(cache):
    """Stores three arrays and loads them."""
    for number in (1, 2, 3):
        cache.store(fingerprint(number), array(number))
    return [cache.load(fingerprint(number)) for number in (1, 2, 3)]


@pytest.mark.parametrize("place", ["file", "file/deep/cache"])
def test_a_folder_that_cannot_be_created_is_reported_once(tmp_path, package_warnings, place):
    (tmp_path / "file").write_text("not a folder")
    assert attempts(DecodedCache(tmp_path / place, 10**6)) == [None] * 3
    (line,) = package_warnings()
    assert line.startswith(f"decoded images are not cached in {tmp_path / place}: ")
    assert "\n" not in line
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_read_only_folder_is_reported_once(foreign_folder, package_warnings):
    foreign_folder.chmod(0o555)
    with someone_else():
        assert attempts(DecodedCache(foreign_folder, 10**6)) == [None] * 3
    assert package_warnings() == [f"decoded images are not cached in {foreign_folder}: Permission denied"]
    assert list(foreign_folder.iterdir()) == []


@pytest.mark.parametrize("room", [0, 128, 600, 1100])
def test_a_full_disk_is_reported_once_and_no_partial_file_remains(tmp_path, package_warnings, room):
    cache = DecodedCache(tmp_path, 10**6)
    with files_of_at_most(room):
        assert attempts(cache) == [None] * 3
    (line,) = package_warnings()
    assert line.startswith(f"decoded images are not cached in {tmp_path}: ")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_existing_files(tmp_path):
    cache = stored(tmp_path, 1)
    with files_of_at_most(500):
        cache.store(fingerprint(2), array(2))
    assert held(tmp_path) == [1]
    assert torch.equal(cache.load(fingerprint(1)), array(1))


# Several users of one folder.


def test_another_users_array_in_a_read_only_folder_is_loaded(foreign_folder, package_warnings):
    stored(foreign_folder, 1)
    foreign_folder.chmod(0o555)
    with someone_else():
        assert torch.equal(DecodedCache(foreign_folder, 10**6).load(fingerprint(1)), array(1))
    assert package_warnings() == []


def test_the_umask_decides_who_may_read_a_stored_file(tmp_path):
    before = os.umask(0o027)
    try:
        stored(tmp_path, 1)
    finally:
        os.umask(before)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def store_together(folder, process, start):
    cache = DecodedCache(folder, 10**9)
    start.wait(60)
    for turn in range(8):
        for number in (0, 1 + turn, 100 * process + turn):
            cache.store(fingerprint(number), torch.full((500_000,), number % 251, dtype=torch.uint8))


def test_processes_that_store_at_the_same_time_leave_whole_files(tmp_path, package_warnings):
    context = multiprocessing.get_context("fork")
    start = context.Barrier(3)
    processes = [context.Process(target=store_together, args=(tmp_path, process, start)) for process in (1, 2)]
    for process in processes:
        process.start()
    start.wait(60)
    cache = DecodedCache(tmp_path, 10**9)
    seen = 0
    while any(process.is_alive() for process in processes):
        for number in (0, 3):
            found = cache.load(fingerprint(number))
            if found is not None:
                seen += 1
                assert found.shape == (500_000,)
                assert found.unique().tolist() == [number]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert seen > 0
    numbers = {0, *range(1, 9), *range(100, 108), *range(200, 208)}
    assert len(list(tmp_path.iterdir())) == len(numbers)
    for number in numbers:
        assert cache.load(fingerprint(number)).unique().tolist() == [number % 251]
    assert package_warnings() == []
