import json

import pytest
from django_delayed.serialization.errors import describe
from django_delayed.serialization.frames import application_frames_in, innermost_frame_in


def test_the_innermost_frame_of_a_text_is_the_one_of_the_fingerprint():
    try:
        json.loads("{")
    except ValueError as error:
        text = describe(error).text
    assert innermost_frame_in(text) == (
        "serialization/test_frames.py, in test_the_innermost_frame_of_a_text_is_the_one_of_the_fingerprint"
    )


def test_the_innermost_frame_is_that_of_the_error_and_not_of_its_cause():
    def cause():
        raise KeyError("inner")

    def effect():
        try:
            cause()
        except KeyError as error:
            raise ValueError("outer") from error

    with pytest.raises(ValueError, match="outer") as raised:
        effect()
    assert innermost_frame_in(describe(raised.value).text).endswith("test_frames.py, in effect")


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ("", ""),
        ("KeyError: 'x'", ""),
        (
            'E\n\nTraceback (most recent call last):\n  File "<string>", line 1, in <module>\nE',
            "<string>, in <module>",
        ),
        (
            'E\n\nTraceback (most recent call last):\n  File "/v/site-packages/a/b.py", line 1, in c\nE',
            "a/b.py, in c",
        ),
        (
            'E\n\nTraceback (most recent call last):\n  File "/srv/my shop/feed.py", line 7, in <lambda>\n'
            '    f()\n  File "/v/site-packages/a/b.py", line 1, in c\nE: File "x", line 1, in y',
            "my shop/feed.py, in <lambda>",
        ),
        ("Traceback (most recent call last):\n" * 3 + '  File "unfinished', ""),
    ],
)
def test_the_innermost_frame_is_found_in_any_text(text, frame):
    assert innermost_frame_in(text) == frame


def test_a_frame_is_found_in_a_huge_text_at_once():
    text = describe(ValueError('  File "' * 100_000)).text + '\n  File "' * 5000
    assert innermost_frame_in(text) == ""


FOREIGN = '  File "/v/site-packages/a/b.py", line 1, in c\n    return d()\n           ^^^\n'
REPEATED = '  File "/v/site-packages/a/d.py", line 2, in e\n  [Previous line repeated 9 more times]\n'
OWN = '  File "/srv/shop/feed.py", line 7, in fetch\n    get(url)\n'
OTHER = '  File "/srv/shop/urls.py", line 9, in get\n    raise E\n'
BEGIN = "Traceback (most recent call last):\n"
LEFT_OUT = "  ...\n"


@pytest.mark.parametrize(
    ("whole", "own"),
    [
        (f"{BEGIN}{OWN}{FOREIGN}{REPEATED}E: no", f"{BEGIN}{OWN}{LEFT_OUT}E: no"),
        (f"{BEGIN}{FOREIGN}{OWN}{FOREIGN}{OTHER}E", f"{BEGIN}{LEFT_OUT}{OWN}{LEFT_OUT}{OTHER}E"),
        # An indented line of a message is not a frame.
        (f"{BEGIN}{OWN}{FOREIGN}E: a\n    b\n  c\n", f"{BEGIN}{OWN}{LEFT_OUT}E: a\n    b\n  c\n"),
        (f"{BEGIN}{FOREIGN}E\n\nled to\n\n{BEGIN}{OWN}F", f"{BEGIN}{LEFT_OUT}E\n\nled to\n\n{BEGIN}{OWN}F"),
    ],
)
def test_the_frames_of_other_code_can_be_left_out(whole, own):
    assert application_frames_in(whole) == own


@pytest.mark.parametrize("text", ["", "KeyError: 'x'", f"{BEGIN}{FOREIGN}E", f"{BEGIN}{OWN}{OTHER}E"])
def test_a_text_that_has_not_both_kinds_of_frames_stays_as_it_is(text):
    assert application_frames_in(text) == text


def test_the_frames_of_the_members_of_a_group_can_be_left_out():
    def own():
        json.loads("{")

    try:
        own()
    except ValueError as error:
        group = ExceptionGroup("several", [error])
    text = describe(group).text
    own_text = application_frames_in(text)
    assert "json/decoder.py" in text
    assert "json/decoder.py" not in own_text
    assert "  |   ...\n  | JSONDecodeError" in own_text
    assert ", in own" in own_text
