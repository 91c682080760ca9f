"""Instances of models that are made without their constructor.

The constructor takes as long as a job that does nothing.
"""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_init, pre_init


def is_init_heard(model: Any) -> bool:
    """Whether a receiver is told of each instance of the model: then its constructor has to be called."""
    return any(signal.receivers and signal.has_listeners(model) for signal in (pre_init, post_init))


def bare_instance(model: Any, values: dict[str, Any]) -> Any:
    """An instance with these attributes, `_state` included; a field that is missing is deferred."""
    instance = model.__new__(model)
    instance.__dict__ = values
    return instance
