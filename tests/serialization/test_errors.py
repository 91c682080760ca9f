"""An error as text: it always fits, can always be stored, and says what is worth knowing and nothing more."""

import os
import re
import time
import traceback
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction
from django_delayed.models import DelayedJob
from django_delayed.serialization import errors
from django_delayed.serialization.errors import (
    CUT,
    TEXT_LIMIT,
    ErrorText,
    clear_frames,
    cut,
    describe,
    storable,
    text_of_traceback,
)
from hypothesis import given
from hypothesis import strategies as st


class Unreadable(Exception):
    def __init__(self, error):
        self.error = error

    def __str__(self):
        raise self.error


class ReprLoops(Exception):
    def __repr__(self):
        return repr(self)

    __str__ = __repr__


class Falsy(Exception):
    def __bool__(self):
        return False


class EqualToAll(Exception):
    def __eq__(self, other):
        return True

    __hash__ = None


class Uncomparable(Exception):
    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None


class HasExceptions(Exception):
    """Like errors of some libraries: its `exceptions` are not those of a group."""

    def __init__(self, exceptions):
        self.exceptions = exceptions


class ExceptionsRaise(Exception):
    @property
    def exceptions(self):
        raise RuntimeError("no")


class Nameless(type):
    @property
    def __name__(cls):
        raise RuntimeError("no")


class WithoutAName(Exception, metaclass=Nameless):
    pass


class TextOfItsOwn(str):
    def __getitem__(self, key):
        raise RuntimeError("no")


class OwnText(Exception):
    def __str__(self):
        return TextOfItsOwn("text")


def raised(error):
    try:
        raise error
    except BaseException as caught:
        return caught


def long_chain():
    error = None
    for number in range(10_000):
        link = ValueError(f"link {number}")
        link.__cause__ = error
        error = link
    return raised(error)


def ring():
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    return one


def recursion():
    return recursion()


def deepest():
    try:
        recursion()
    except RecursionError as error:
        return error


def of_the_filesystem():
    try:
        os.stat(b"/nowhere/caf\xe9\xff")
    except OSError as error:
        return error


def of_the_database():
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT nonsense")
    except DatabaseError as error:
        return error


@pytest.mark.parametrize(("lines", "is_cut"), [(400, False), (401, True)])
def test_a_traceback_says_that_it_is_cut_only_if_lines_are_missing(monkeypatch, lines, is_cut):
    monkeypatch.setattr(errors, "TEXT_LIMIT", 0)
    monkeypatch.setattr(errors, "_lines", lambda _: [f"{number}\n" for number in range(lines)])
    text = describe(ValueError()).text.partition("\n\n")[2]
    assert (CUT in text) == is_cut
    assert text.endswith(f"\n{lines - 1}")


@pytest.mark.parametrize("length", [16 * 1024 + 1, 20_000, 10_000_000])
def test_a_long_message_keeps_its_head_and_its_tail(length):
    described = describe(raised(ValueError("first " + "x" * (length - 11) + " last")))
    message = described.text.partition("\n\n")[0]
    assert message.startswith("ValueError: first x")
    assert CUT in message
    assert message.endswith("x last")
    assert len(message) <= len("ValueError: ") + 16 * 1024
    assert described.message.startswith("first x")


UNRECORDABLE = {
    "NUL": lambda: raised(ValueError("a\0b")),
    "a lone surrogate": lambda: raised(ValueError("a\udcffb")),
    "50 MB": lambda: raised(ValueError("x" * 50_000_000)),
    "50 MB of bytes": lambda: raised(ValueError(b"x" * 50_000_000)),
    "50 MB of emoji": lambda: raised(ValueError("🦀" * 12_500_000)),
    "a __str__ that raises": lambda: raised(Unreadable(RuntimeError("no"))),
    "a __str__ that exits": lambda: raised(Unreadable(SystemExit(1))),
    "a __str__ that interrupts": lambda: raised(Unreadable(KeyboardInterrupt())),
    "a __str__ that raises itself": lambda: raised(OwnText()),
    "a repr without end": lambda: raised(ReprLoops()),
    "a chain of 10,000": long_chain,
    "a ring": lambda: raised(ring()),
    "a group of 10,000": lambda: raised(ExceptionGroup("many", [ValueError(n) for n in range(10_000)])),
    "nested groups": lambda: raised(
        ExceptionGroup("outer", [ExceptionGroup("inner", [ValueError("leaf")]), KeyError("key")])
    ),
    "recursion": deepest,
    "a file name that is no text": of_the_filesystem,
    "no traceback": lambda: ValueError("never raised"),
    "no message": lambda: raised(ValueError()),
    "exceptions is a number": lambda: raised(HasExceptions(7)),
    "exceptions is a dict": lambda: raised(HasExceptions({"a": 1})),
    "exceptions raises": lambda: raised(ExceptionsRaise()),
    "false": lambda: raised(Falsy("falsy")),
    "equal to all": lambda: raised(EqualToAll("equal")),
    "not to be compared": lambda: raised(Uncomparable("uncomparable")),
    "a class without a name": lambda: raised(WithoutAName("nameless")),
    "a class with a long name": lambda: raised(type("E" * 1000, (Exception,), {})("long")),
}


@pytest.mark.parametrize("name", UNRECORDABLE)
def test_whatever_a_job_raises_can_be_written_down(name):
    error = UNRECORDABLE[name]()
    described = describe(error, "a job")
    assert 0 < len(described.text.encode()) <= TEXT_LIMIT
    assert len(described.error_class) <= 255
    assert len(described.message) <= 255
    assert "\n" not in described.message
    assert re.fullmatch("[0-9a-f]{16}", described.fingerprint)
    for text in (described.text, described.message, described.error_class):
        assert text == storable(text)


@pytest.mark.parametrize("name", UNRECORDABLE)
def test_whatever_a_job_raises_can_be_logged_and_freed(name):
    error = UNRECORDABLE[name]()
    text = text_of_traceback(error)
    lines = text.split("\n")
    assert all(not line or (line.startswith("    ") and line.isprintable()) for line in lines)
    clear_frames(error)
    assert text_of_traceback(error) == text


@pytest.mark.django_db
@pytest.mark.parametrize("name", UNRECORDABLE)
def test_whatever_a_job_raises_can_be_stored(name):
    DelayedJob.objects.create(name="a job", payload="{}", run_at="2020-01-01T00:00:00Z")
    [row] = DelayedJob.objects.claim("1" * 32)
    error = describe(UNRECORDABLE[name](), row.name)
    assert DelayedJob.objects.reschedule(row, error, timedelta(0))
    row = DelayedJob.objects.get()
    assert (row.last_error, row.error_class) == (error.text, error.error_class)
    assert (row.error_message, row.error_fingerprint) == (error.message, error.fingerprint)


@pytest.mark.django_db
def test_an_error_of_an_aborted_transaction_can_be_written_down():
    with transaction.atomic():
        error = of_the_database()
        transaction.set_rollback(True)
    assert "nonsense" in describe(error).text


def test_the_message_comes_first_and_the_innermost_frame_last():
    def innermost():
        raise LookupError("no such thing\nand a second line")

    with pytest.raises(LookupError) as caught:
        innermost()
    described = describe(caught.value)
    assert described.error_class == "LookupError"
    assert described.message == "no such thing"
    lines = described.text.splitlines()
    assert lines[:2] == ["LookupError: no such thing", "and a second line"]
    assert "Traceback (most recent call last):" in lines
    assert described.text.rindex("in innermost") > described.text.rindex("in test_the_message")
    assert 'raise LookupError("no such thing' in described.text
    assert lines[-2:] == ["LookupError: no such thing", "and a second line"]


def test_local_variables_are_not_recorded():
    def innermost(password):
        raise ValueError("it broke")

    with pytest.raises(ValueError, match="it broke") as caught:
        innermost(password="s3cr" + "3t")
    assert "s3cr3t" not in describe(caught.value).text


def test_the_head_and_the_tail_of_a_long_text_are_kept():
    error = raised(ValueError("HEAD " + "x" * 200_000))
    error.__cause__ = raised(ValueError("y" * 200_000))
    described = describe(error)
    assert described.text.startswith("ValueError: HEAD xxx")
    assert len(described.text.encode()) <= TEXT_LIMIT

    text = "HEAD" + "🦀" * 100_000 + "TAIL"
    shorter = cut(text)
    assert shorter.startswith("HEAD🦀")
    assert shorter.endswith("🦀TAIL")
    assert "... cut ..." in shorter
    assert TEXT_LIMIT - 20 < len(shorter.encode()) <= TEXT_LIMIT


@given(st.text(alphabet=st.characters(), max_size=200), st.integers(30, 300))
def test_a_text_that_was_cut_fits_and_is_valid(text, limit):
    text = storable(text)
    shorter = cut(text, limit)
    assert len(shorter.encode()) <= limit
    assert shorter == text or "cut" in shorter


def test_the_frames_where_an_endless_recursion_began_and_ended_are_shown():
    text = describe(deepest()).text
    assert "RecursionError: maximum recursion depth" in text
    assert "in recursion" in text
    assert "repeated" in text


def test_causes_and_contexts_are_shown_innermost_first():
    def fail():
        try:
            try:
                raise KeyError("root")
            except KeyError as error:
                raise ValueError("middle") from error
        except ValueError:
            raise RuntimeError("outer")  # noqa: B904

    with pytest.raises(RuntimeError) as caught:
        fail()
    text = describe(caught.value).text
    assert text.startswith("RuntimeError: outer")
    assert (
        text.index("KeyError: 'root'") < text.index("ValueError: middle") < text.rindex("RuntimeError: outer")
    )


def test_a_cause_that_is_false_is_shown_too():
    error = raised(ValueError("outer"))
    error.__cause__ = raised(Falsy("it was me"))
    assert "it was me" in describe(error).text


def test_a_suppressed_context_is_not_shown():
    def fail():
        try:
            raise KeyError("inner")
        except KeyError:
            raise ValueError("outer") from None

    with pytest.raises(ValueError, match="outer") as caught:
        fail()
    assert "inner" not in describe(caught.value).text


def test_the_members_of_a_group_are_shown_and_how_many_more_there_are():
    text = describe(raised(ExceptionGroup("many", [ValueError(f"number {n}") for n in range(13)]))).text
    assert "ValueError: number 0" in text
    assert "ValueError: number 9" in text
    assert "number 10" not in text
    assert "3 more" in text


def test_notes_are_shown():
    error = raised(ValueError("it broke"))
    error.add_note("while importing row 7")
    assert "while importing row 7" in describe(error).text
    error.__notes__ = 7
    assert describe(error).text.startswith("ValueError: it broke")


# The fingerprint: one for each kind of error.


def fails(message):
    raise ValueError(message)


def mark(function, *arguments, name="a job"):
    try:
        function(*arguments)
    except Exception as error:
        return describe(error, name).fingerprint
    raise AssertionError


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 17 is late", "order 18 is late"),
        ("no user 'ada'", "no user 'bob'"),
        ('no user "ada"', 'no user "bob"'),
        ("can't find 'a'", "can't find 'b'"),
        ("<object at 0x7f3a2c>", "<object at 0x81b2ff>"),
        ("no 8c1f3a52-1111-4222-8333-0123456789ab", "no 00000000-aaaa-4bbb-8ccc-ba9876543210"),
        ("key d41d8cd98f00b204e9800998ecf8427e", "key 0cc175b9c0f1b6a831c399e269772661"),
        ("took 1.25 s", "took 33.5 s"),
    ],
)
def test_the_fingerprint_does_not_see_ids_numbers_and_quoted_values(one, other):
    assert mark(fails, one) == mark(fails, other)


def test_the_fingerprint_does_not_see_line_numbers():
    sources = [
        "def broken():\n    raise ValueError('x')\n",
        "# moved\n\n\ndef broken():\n    raise ValueError('x')\n",
    ]
    marks = set()
    for source in sources:
        namespace = {"__name__": "shop.jobs"}
        exec(compile(source, "/srv/shop/jobs.py", "exec"), namespace)
        marks.add(mark(namespace["broken"]))
    assert len(marks) == 1


def test_the_fingerprint_distinguishes_kinds_places_words_and_jobs():
    def elsewhere(message):
        raise ValueError(message)

    def another_kind(message):
        raise KeyError(message)

    marks = [
        mark(fails, "it broke"),
        mark(elsewhere, "it broke"),
        mark(another_kind, "it broke"),
        mark(fails, "it tore"),
        mark(fails, "it broke", name="another job"),
    ]
    assert len(set(marks)) == len(marks)


@pytest.mark.parametrize("unit", ["a", "'", "a'b ", '"', "0x", "1", "-", "deadbeef-", "a!", "\\'"])
def test_the_time_that_a_long_message_takes_grows_no_faster_than_its_length(unit):
    def seconds(size):
        error = raised(ValueError((unit * size)[:size]))
        began = time.process_time()
        describe(error)
        return time.process_time() - began

    assert seconds(2_000_000) < 1  # it takes milliseconds; anything worse than linear would take hours


class Refused(Exception):
    class Inner(Exception):
        pass


def test_the_path_of_an_error_leads_to_its_class():
    assert describe(ValueError()).path == "ValueError"
    assert describe(Refused()).path == f"{__name__}.Refused"
    assert describe(Refused.Inner()).path == f"{__name__}.Refused.Inner"


@pytest.mark.parametrize("module", [None, 5, "\0\ud800", "m" * 300])
def test_an_odd_module_of_an_error_has_a_path_that_fits(module):
    path = describe(type("Odd", (Exception,), {"__module__": module})()).path
    assert 0 < len(path) <= 255
    assert path.encode("utf-8")


# What is recorded when the database refuses the text.


def test_in_ascii_everything_fits_every_charset():
    error = ErrorText("Fehlerß", "café 🦀" * 50, "é" * TEXT_LIMIT, "0" * 16, "shop.Fehlerß").in_ascii()
    assert error.path == "shop.Fehler\\xdf"
    assert error.text.isascii()
    assert error.error_class == "Fehler\\xdf"
    assert error.message.isascii()
    assert len(error.message) <= 255
    assert len(error.text) <= TEXT_LIMIT


def test_nothing_of_a_withheld_text_is_left():
    error = describe(raised(ValueError("s3cr3t"))).withheld()
    assert "s3cr3t" not in f"{error.error_class}{error.message}{error.text}"
    assert error.text


def test_it_says_as_much_as_python_does():
    error = raised(ValueError("it broke"))
    ours = describe(error).text
    for line in traceback.format_exception(error):
        assert line.splitlines()[0] in ours
