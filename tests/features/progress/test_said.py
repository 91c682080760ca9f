"""What a job may give to progress(), and what becomes of it."""

import pytest
from django.utils.functional import lazy
from django_delayed import Job
from django_delayed.features.progress.said import LARGEST, NOTE_LIMIT, check_said
from django_delayed.models import Progress


class Small(float):
    pass


class Silent(Job):
    """Calls progress() with its arguments."""

    def perform(self, *said):
        self.progress(*said)


@pytest.mark.parametrize(
    ("said", "error", "sentence"),
    [
        (("x",), TypeError, r"done of progress\(\) must be a number, not 'x'"),
        ((None,), TypeError, "done of progress"),
        ((True,), TypeError, "done of progress"),
        ((1j,), TypeError, "done of progress"),
        ((1, "3"), TypeError, r"total of progress\(\) must be a number, not '3'"),
        ((1, 2, 3), TypeError, "The note of progress"),
        ((1, 2, None), TypeError, "The note of progress"),
        ((1, 2, b"note"), TypeError, "The note of progress"),
        ((-1,), ValueError, "done of progress.* from 0 to 1,000,000,000,000,000"),
        ((1, -0.5), ValueError, "total of progress"),
        ((float("nan"),), ValueError, "done of progress"),
        ((float("inf"),), ValueError, "done of progress"),
        ((1, float("nan")), ValueError, "total of progress"),
        ((LARGEST + 1,), ValueError, "done of progress"),
        ((10**5000,), ValueError, "done of progress"),
    ],
    ids=range(15),
)
def test_invalid_progress_is_an_error_also_without_a_worker(said, error, sentence):
    with pytest.raises(error, match=sentence):
        Silent.perform_now(*said)


@pytest.mark.parametrize("said", [(0, None), (0, 0), (0.5, 1), (3, 2), (Small(1), 2), (LARGEST, LARGEST)])
def test_numbers_of_all_kinds_are_accepted(said):
    Silent.perform_now(*said)
    taken = check_said(*said, "")
    assert (taken.done, taken.total) == said


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        ("importing", "importing"),
        ("  two\n lines\t", "two lines"),
        ("a\x00b\x1b[31m\ud800", "a\\x00b\\x1b[31m\\ud800"),
        (lazy(lambda: "later", str)(), "later"),
        ("x" * NOTE_LIMIT, "x" * NOTE_LIMIT),
        ("x" * 10**6, "x" * (NOTE_LIMIT - 1) + "…"),
        ("\x00" * 300, ("\\x00" * 64)[: NOTE_LIMIT - 1] + "…"),
    ],
    ids=range(7),
)
def test_a_note_is_one_line_of_at_most_255_characters(note, kept):
    assert check_said(1, None, note).note == kept


@pytest.mark.parametrize(
    ("done", "total", "fraction", "text"),
    [
        (0, None, None, "0"),
        (0, 0, 1.0, "0 of 0"),
        (0, 4, 0.0, "0 of 4"),
        (1, 4, 0.25, "1 of 4"),
        (5, 4, 1.0, "5 of 4"),
        (1200, 5000, 0.24, "1,200 of 5,000"),
        (0.5, 1, 0.5, "0.5 of 1"),
    ],
)
def test_the_fraction_is_at_most_one(done, total, fraction, text):
    progress = Progress(done=done, total=total)
    assert progress.fraction == fraction
    assert str(progress) == text
