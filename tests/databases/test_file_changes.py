"""Linux tells when a file is written to."""

import ctypes
import errno
import gc
import os
import resource
import select
import sys
from types import SimpleNamespace

import pytest
from django_delayed.databases.file_changes import FileChanges

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only for Linux")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "café \udce9.sqlite3"
    path.write_text("")
    return path


def write(path):
    with open(path, "a") as file:
        file.write("x")


def can_be_read(changes):
    return bool(select.select([changes.fd], [], [], 0)[0])


@on_linux
def test_writes_to_a_file_are_reported_once(file):
    changes = FileChanges([str(file)])
    assert not can_be_read(changes)
    assert not changes.have_come()
    for _ in range(3):
        write(file)
    assert can_be_read(changes)
    assert changes.have_come()
    assert not can_be_read(changes)
    assert not changes.have_come()


@on_linux
def test_each_of_the_files_is_watched_and_no_other(file, tmp_path):
    second, other = tmp_path / "second", tmp_path / "other"
    write(second)
    write(other)
    changes = FileChanges([str(file), str(second)])
    write(other)
    assert not changes.have_come()
    write(second)
    assert changes.have_come()


@on_linux
def test_many_writes_are_read_at_once(file):
    changes = FileChanges([str(file)])
    for _ in range(10_000):
        os.truncate(file, 0)
        write(file)
    assert changes.have_come()
    assert not can_be_read(changes)


@on_linux
@pytest.mark.parametrize("name", ["missing", "", "missing/file"])
def test_a_file_that_does_not_exist_is_an_error_and_leaves_nothing_open(name, tmp_path):
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        FileChanges([str(tmp_path / name) if name else name])
    gc.collect()
    assert os.listdir("/proc/self/fd") == before


@on_linux
def test_the_descriptor_is_closed_with_the_object_and_is_not_inherited(file):
    changes = FileChanges([str(file)])
    fd = changes.fd
    assert not os.get_inheritable(fd)
    del changes
    gc.collect()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(fd)


@on_linux
def test_a_limit_of_the_system_is_an_error_with_the_message_of_the_system(file):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, before[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            [FileChanges([str(file)]) for _ in range(highest + 10)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_system_without_inotify_is_an_error(file, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **kwargs: SimpleNamespace())
    with pytest.raises(OSError, match="inotify"):
        FileChanges([str(file)])
