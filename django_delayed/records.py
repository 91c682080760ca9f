"""A model instance as a reference, and back."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import DataError, connections, models

from .exceptions import DeserializationError, RecordNotFound, SerializationError


def label_of(model: type[models.Model]) -> str:
    """The label of a model, "blog.post". Raises SerializationError when another one has it."""
    label = model._meta.label_lower
    if _registered(label) is not model:
        raise SerializationError(
            f"the model {label} is abstract, or not the one of that name in an installed app"
        )
    return label


def model_of(label: Any) -> type[models.Model]:
    """The model of this label. Raises DeserializationError when there is none."""
    if isinstance(label, str) and (model := _registered(label)):
        return model
    raise DeserializationError(f"The model {label} does not exist (any more).")


def reference(record: models.Model) -> tuple[str, Any, str | None]:
    """Label, primary key and database of a saved instance. Raises SerializationError for any other."""
    label = label_of(record.__class__)  # not type(): request.user is a lazy stand-in for a user
    if record.pk is None or record._state.adding:
        raise SerializationError(
            f"the {label} is not saved (any more), so no worker could fetch it; save it first"
        )
    return label, record.pk, record._state.db


def fetch(label: str, pk: Any, db: str | None) -> models.Model:
    """The instance as it is now, past every custom manager.

    Raises RecordNotFound when it is gone, DeserializationError when it cannot be asked for, and the errors of
    the database when that is away: the first two fail the job for good, the last is tried again.
    """
    model = model_of(label)
    if db is not None and db not in connections:
        raise DeserializationError(
            f"The {label} {pk!r} lies in a database {db!r}, which is none of DATABASES."
        )
    try:
        return model._base_manager.using(db).get(pk=pk)
    except ObjectDoesNotExist as error:
        raise RecordNotFound(f"The {label} with the primary key {pk!r} is gone.") from error
    except (DataError, ValidationError) as error:
        raise DeserializationError(f"The {label} {pk!r} cannot be asked for: {error}") from error


def subject_of(*values: Any) -> str:
    """The first of the values that is a saved instance, as "blog.post:9"; "" when there is none that fits."""
    for value in values:
        if isinstance(value, models.Model) and value.pk is not None:
            concrete = value._meta.concrete_model or type(value)
            subject = f"{concrete._meta.label_lower}:{value.pk}"
            return subject if len(subject) <= 255 else ""
    return ""


def _registered(label: str) -> type[models.Model] | None:
    try:
        return apps.get_model(label)
    except (LookupError, ValueError):  # ValueError: it has no dot, or two
        return None
