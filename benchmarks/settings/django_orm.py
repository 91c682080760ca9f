"""The settings of django_delayed: the ORM writes into its table."""

from .django_delayed import *  # noqa: F403
