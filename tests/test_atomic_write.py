"""Files written by ``atomic_write`` are complete, old or new, whatever happens during the write."""

import csv
import os
import signal
import subprocess
import sys
import threading

import pytest

from resnet_lightning.atomic_write import atomic_write, atomic_write_csv, atomic_write_text


def test_the_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "file"
    with atomic_write(path) as file:
        file.write(b"content")
        file.flush()
        assert os.listdir(tmp_path) == ["file.part"]
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_bytes() == b"content"


def test_the_unfinished_file_can_be_read_and_changed(tmp_path):
    path = tmp_path / "file"
    with atomic_write(path) as file:
        file.write(b"content")
        file.seek(0)
        assert file.read(3) == b"con"
        file.seek(0)
        file.write(b"C")
    assert path.read_bytes() == b"Content"


@pytest.mark.parametrize("durable", [False, True])
def test_missing_folders_are_made(tmp_path, durable):
    path = tmp_path / "a" / "b" / "file"
    with atomic_write(path, durable=durable) as file:
        file.write(b"content")
    assert path.read_bytes() == b"content"


def test_a_durable_file_is_flushed_before_it_is_renamed_and_its_folder_after(tmp_path, monkeypatch):
    flushed = []
    flush = os.fsync

    def fsync(handle):
        flushed.append((os.readlink(f"/proc/self/fd/{handle}"), sorted(os.listdir(tmp_path))))
        flush(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_write(tmp_path / "file", durable=True) as file:
        file.write(b"content")
    assert flushed == [(f"{tmp_path}/file.part", ["file.part"]), (str(tmp_path), ["file"])]


@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("has_other_writers", [False, True])
def test_after_an_exception_the_file_is_what_it_was(tmp_path, before, error, has_other_writers):
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)

    def write_half():
        with atomic_write(path, has_other_writers=has_other_writers) as file:
            file.write(b"half")
            file.flush()
            raise error

    with pytest.raises(error):
        write_half()
    assert os.listdir(tmp_path) == ([] if before is None else ["file"])
    assert before is None or path.read_bytes() == before


A_WRITER = """
import sys, time
from resnet_lightning.atomic_write import atomic_write

with atomic_write(sys.argv[1]) as file:
    file.write(b"half of the new content")
    file.flush()
    print("half", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_after_sigkill_the_file_is_what_it_was_and_the_next_write_clears_up(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    process = subprocess.Popen([sys.executable, "-c", A_WRITER, path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"half\n"
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["file", "file.part"]
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


ON_A_FULL_DISK = """
import errno, resource, sys
from resnet_lightning.atomic_write import atomic_write

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with atomic_write(sys.argv[1]) as file:
        file.write(bytes(int(sys.argv[2])))
except OSError as error:
    print(errno.errorcode[error.errno])
"""


@pytest.mark.slow
@pytest.mark.parametrize(("size", "printed"), [(1000, ""), (1001, "EFBIG\n"), (1_000_000, "EFBIG\n")])
def test_where_there_is_no_room_the_file_is_what_it_was(tmp_path, size, printed):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    command = [sys.executable, "-c", ON_A_FULL_DISK, path, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == printed
    assert path.read_bytes() == (b"old" if printed else bytes(size))
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError), atomic_write(tmp_path / "file") as file:
        file.write(b"content")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        (tmp_path / "plain").touch()
        atomic_write_text(tmp_path / "file", "content")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_writers_of_the_same_file_do_not_mix(tmp_path):
    path = tmp_path / "file"
    both_have_begun = threading.Barrier(2)

    def write(content):
        with atomic_write(path, has_other_writers=True) as file:
            file.write(content[:500])
            file.flush()
            both_have_begun.wait(10)
            file.write(content[500:])

    other = threading.Thread(target=write, args=(b"a" * 1000,))
    other.start()
    write(b"b" * 1000)
    other.join()
    assert path.read_bytes() in (b"a" * 1000, b"b" * 1000)
    assert os.listdir(tmp_path) == ["file"]


def test_text_keeps_its_line_ends_and_the_bytes_of_file_names(tmp_path):
    path = tmp_path / "file"
    atomic_write_text(path, "é\n1\r\n" + os.fsdecode(b"\xff.png"))
    assert path.read_bytes() == "é\n1\r\n".encode() + b"\xff.png"


def test_a_csv_file_is_read_back(tmp_path):
    rows = [["name", "value"], ["a,b", "1"], ['"c"', "2"], ["two\nlines", ""]]
    atomic_write_csv(tmp_path / "table.csv", rows)
    with (tmp_path / "table.csv").open(newline="") as file:
        assert list(csv.reader(file)) == rows
