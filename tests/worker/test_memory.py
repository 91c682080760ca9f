"""How much memory a process takes."""

import sys
from pathlib import Path

import pytest
from django_delayed.worker.memory import MEGABYTE, memory_taken

SIZE = 64 * MEGABYTE


@pytest.mark.skipif(sys.platform != "linux", reason="other systems report only the peak")
def test_the_memory_taken_grows_and_shrinks_with_what_is_in_memory():
    before = memory_taken()
    taken = bytearray(b"x" * SIZE)
    assert memory_taken() > before + SIZE * 0.9
    del taken
    assert memory_taken() < before + SIZE * 0.5


def test_on_other_systems_the_memory_taken_is_the_peak_so_far(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda path: "")
    most = memory_taken()
    assert most > 10 * MEGABYTE
    taken = bytearray(b"x" * SIZE)
    del taken
    assert memory_taken() >= most
