"""Model instances as references, and back."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import DataError, connections, models, router

from ..exceptions import DeserializationError, RecordNotFound, SerializationError, UnknownCode
from . import scalars
from .deletion import is_being_deleted

MOST_DIGITS = 1000  # of a number that is a primary key


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
    raise UnknownCode(f"The model {label} does not exist.")


def reference(record: models.Model) -> tuple[str, Any, str | None]:
    """Label, primary key and database of a saved instance. Raises SerializationError for any other one.

    The database is the one that the instance is written to, even if a router reads from replicas: a replica
    may lag behind, or be gone when the job is performed.
    """
    # Not type(): request.user is a lazy stand-in for a user.
    label = label_of(record.__class__)
    if record.pk is None or record._state.adding:
        raise SerializationError(f"the {label} is not saved, so no worker could fetch it; save it first")
    if is_being_deleted(record):
        raise SerializationError(
            f"the {label} is being deleted, so no worker could fetch it; pass its primary key or the values"
            " that the job needs, to a function, a class method or a Job"
        )
    return label, record.pk, router.db_for_write(record.__class__, instance=record)


def key_as_text(model: type[models.Model], pk: Any) -> list[str]:
    """The primary key as its field writes it for fixtures, a text for each of its columns.

    Raises SerializationError when these texts do not lead back to it.
    """
    fields = _key_fields(model)
    parts = zip(fields, pk if len(fields) > 1 else [pk], strict=True)
    texts = [field.value_to_string(SimpleNamespace(**{field.attname: part})) for field, part in parts]
    try:
        leads_back = key_from_text(model, texts) == pk
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, ValidationError):
        leads_back = False
    if not leads_back:
        raise SerializationError(
            f"the primary key of the {label_of(model)}, {pk!r}, is not a plain value, and its field"
            " cannot rebuild it: to_python() has to accept what value_to_string() returns"
        )
    return texts


def key_from_text(model: type[models.Model], texts: Any) -> Any:
    """The primary key that `key_as_text` wrote. Errors of its field are raised as they are."""
    parts = [field.to_python(text) for field, text in zip(_key_fields(model), texts, strict=True)]
    return parts[0] if len(parts) == 1 else tuple(parts)


def _key_fields(model: type[models.Model]) -> list[Any]:
    """The fields of the key; instead of a foreign key, the field that it refers to."""
    fields: list[Any] = []
    field: Any
    for field in model._meta.pk_fields:
        while field.remote_field:
            field = field.target_field
        fields.append(field)
    return fields


def fetch(model: type[models.Model], pk: Any, db: str | None) -> models.Model:
    """The instance as it is now, fetched without custom managers.

    Raises RecordNotFound when it is gone and DeserializationError when it cannot be looked up: both fail the
    job for good. Every other error, of an unavailable database or of the model's own code, is raised as it
    is: it may not come again.
    """
    label = model._meta.label_lower
    if isinstance(pk, Decimal) and abs(pk.adjusted()) > MOST_DIGITS:
        # To turn it into the integer of a key would take hours.
        raise DeserializationError(f"The {label} cannot have a primary key of {pk.adjusted():,} digits.")
    if db is not None and db not in connections:
        raise DeserializationError(
            f"The {label} {pk!r} is in the database {db!r}, which DATABASES does not have."
        )
    found = _look_up(model, pk, db)
    try:
        # Not get(): the code of the model may raise a DoesNotExist of its own while the instance is made.
        for record in found:
            return record
    except DataError as error:
        raise DeserializationError(f"The {label} {pk!r} cannot be looked up: {error}") from error
    raise RecordNotFound(f"The {label} with the primary key {pk!r} is gone.")


def _look_up(model: type[models.Model], pk: Any, db: str | None) -> models.QuerySet[models.Model]:
    """The query for the instance, which has not run. Raises DeserializationError for an invalid key."""
    try:
        for part in pk if isinstance(pk, (list, tuple)) else [pk]:
            if isinstance(part, str):
                scalars.text(part)
        return model._base_manager.using(db).filter(pk=pk).order_by()
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, ValidationError) as error:
        label = model._meta.label_lower
        raise DeserializationError(f"The {label} {pk!r} cannot be looked up: {error}") from error


def about_of(*values: Any) -> str:
    """The first saved instance among the values, as "blog.post:9"; "" without one, or if it is too long."""
    for value in values:
        if isinstance(value, models.Model) and value.pk is not None:
            concrete = value._meta.concrete_model or type(value)
            about = f"{concrete._meta.label_lower}:{value.pk}"
            return about if len(about) <= 255 else ""
    return ""


def _registered(label: str) -> type[models.Model] | None:
    try:
        return apps.get_model(label)
    # ValueError: the label has no dot, or two.
    except (LookupError, ValueError):
        return None
