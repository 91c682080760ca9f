"""Signed tokens: whoever has one may see the progress of one job, and nothing else."""

from __future__ import annotations

import time
from datetime import timedelta

from django.core import signing

from ...conf import positive_duration

# A token that was signed for another purpose is not valid here.
SALT = "django_delayed.progress"


class TokenExpired(Exception):
    """The token is not valid any more."""


def sign(row_id: int, max_age: timedelta | float | None) -> str:
    """A token for the job of the row with this id; without `max_age`, for as long as the row is there."""
    until = 0
    if max_age is not None:
        until = int(time.time() + positive_duration(max_age, "max_age").total_seconds())
    return signing.Signer(salt=SALT).sign_object([row_id, until])


def row_id_in(token: str) -> int:
    """The id that was signed. Raises BadSignature for what was not signed here, and TokenExpired."""
    row_id, until = signing.Signer(salt=SALT).unsign_object(token)
    if until and until <= time.time():
        raise TokenExpired
    return int(row_id)
