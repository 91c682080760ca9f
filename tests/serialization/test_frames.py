import json

import pytest
from django_delayed.serialization.errors import describe
from django_delayed.serialization.frames import innermost_frame_in


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
