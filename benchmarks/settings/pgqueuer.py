"""https://janbjorge.github.io/pgqueuer/ has no settings; Django only makes the database."""

from .common import *  # noqa: F403
