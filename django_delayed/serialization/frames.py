"""The frames of a traceback: which are the application's own, and the innermost of these."""

from __future__ import annotations

import os
import re
import sysconfig
import traceback
from collections.abc import Iterator

_STDLIB = sysconfig.get_path("stdlib")
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
_FRAME = re.compile(r'^  File "(.+)", line \d+, in (.+)$', re.MULTILINE)
# In an exception group, the frames of its members are indented.
_ANY_FRAME = re.compile(r'^((?:  \| )*)  File "(.+)", line \d+, in .+$')
LEFT_OUT = "  ..."


def innermost_frame(error: BaseException) -> str:
    """The innermost frame in the application's own code, or else in any code, as "module:function"."""
    own = anywhere = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        anywhere = f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_name}"
        if _is_own(frame.f_code.co_filename):
            own = anywhere
    return own or anywhere


def innermost_frame_in(text: str) -> str:
    """The innermost frame in the application's own code, or else in any, as "shop/feed.py, in fetch".

    Reads the text of an error, as `describe` writes it; "" if it has no frame.
    """
    # The last traceback is that of the error itself; those of its causes are above it.
    frames = _FRAME.findall(text.rpartition("\nTraceback (most recent call last):\n")[2])
    own = [frame for frame in frames if _is_own(frame[0])]
    for file, function in (own or frames)[-1:]:
        return f"{'/'.join(file.split('/')[-2:])}, in {function}"
    return ""


def application_frames_in(text: str) -> str:
    """The text of an error, as `describe` writes it, with only the frames of the application's own code.

    A text without such frames stays as it is.
    """
    frames = [match[2] for line in text.split("\n") if (match := _ANY_FRAME.match(line))]
    return "\n".join(_own_lines(text)) if any(map(_is_own, frames)) else text


def _own_lines(text: str) -> Iterator[str]:
    """The lines without those of other frames. LEFT_OUT stands for other frames that follow each other."""
    lines_of_frame, is_own, was_left_out = "", True, False
    for line in text.split("\n"):
        if frame := _ANY_FRAME.match(line):
            # Its code, the marks below it, and "[Previous line repeated 9 more times]".
            lines_of_frame, is_own = f"{frame[1]}  ", _is_own(frame[2])
            if not (is_own or was_left_out):
                yield f"{frame[1]}{LEFT_OUT}"
        elif not (lines_of_frame and line.startswith(lines_of_frame)):
            lines_of_frame, is_own = "", True
        if is_own:
            yield line
        was_left_out = not is_own


def _is_own(file: str) -> bool:
    """Whether the code is the application's: neither Python's nor in site-packages or dist-packages."""
    return not file.startswith((_STDLIB, "<frozen")) and "-packages" not in file


def is_machinery(file: str) -> bool:
    """Whether the code is ours or Python's."""
    return file.startswith(_PACKAGE) or (file.startswith((_STDLIB, "<frozen")) and "-packages" not in file)
