"""The settings of django_delayed: bare SQL uses its table."""

from .django_delayed import *  # noqa: F403
