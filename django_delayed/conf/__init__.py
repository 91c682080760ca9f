"""What can be configured, and the types of values, for settings and for options."""

from .defaults import FIELDS, Settings, problems, settings
from .values import (
    CATCH_UP,
    CENTURY,
    CODE_NAME,
    INTEGERS,
    WILDCARDS,
    bounded_duration,
    count,
    duration,
    from_now,
    integer,
    positive_duration,
    queue_name,
)

__all__ = [
    "CATCH_UP",
    "CENTURY",
    "CODE_NAME",
    "FIELDS",
    "INTEGERS",
    "WILDCARDS",
    "Settings",
    "bounded_duration",
    "count",
    "duration",
    "from_now",
    "integer",
    "positive_duration",
    "problems",
    "queue_name",
    "settings",
]
