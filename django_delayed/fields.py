"""The fields, the index and the operation in migrations: they never move, and import nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.db.models import Case, CheckConstraint, Index, Model, Q, When


class QueueField(models.CharField):  # type: ignore[type-arg]
    """A name that is compared exactly. By default, "Mail" and "mail" are equal on MySQL and MariaDB.

    They would then be one lane in the index and two for the worker.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        parameters = super().db_parameters(connection)
        return {**parameters, "collation": "utf8mb4_bin"} if connection.vendor == "mysql" else parameters


class ClaimableField(models.SmallIntegerField):  # type: ignore[type-arg]
    """The column `claimable`: 1 while a row is neither locked nor failed nor finished, else NULL.

    The index of the lanes and every query for waiting rows ask for it, on each database in the same way.
    MySQL and MariaDB have no partial indexes, so there it leads the index.

    It is a plain column and not a GeneratedField: with a generated one, MariaDB 10.11 reads the whole index
    for a list of the lanes, 142 ms instead of 0.1 ms with a million rows. `pre_save` derives it for `save`,
    `create` and `bulk_create`, `after` for an UPDATE; a CHECK refuses whatever else would leave it wrong.
    """

    condition = Q(claimable=1)
    times = ("locked_at", "failed_at", "finished_at")

    @classmethod
    def constraint(cls, name: str) -> CheckConstraint:
        """The CHECK that ties the column to the timestamps."""
        no_times = Q(**{f"{time}__isnull": True for time in cls.times})
        # IS NOT NULL as well: a CHECK passes when it is NULL, as `claimable = 1` is where claimable is NULL.
        claimable = Q(no_times, cls.condition, claimable__isnull=False)
        return CheckConstraint(name=name, condition=claimable | Q(~no_times, claimable__isnull=True))

    @classmethod
    def after(cls, columns: Mapping[str, Any]) -> Any:
        """The value, or the expression for it, once an UPDATE has written these columns."""
        if any(columns.get(time) for time in cls.times):
            return None
        kept = {f"{time}__isnull": True for time in cls.times if time not in columns}
        return Case(When(**kept, then=1), default=None) if kept else 1

    def pre_save(self, model_instance: Any, add: bool) -> int | None:
        times = [getattr(model_instance, time) for time in self.times]
        model_instance.claimable = 1 if times == [None, None, None] else None
        return model_instance.claimable


class PartialIndex(Index):
    """An index over the rows that `where` selects; without partial indexes, a plain one led by `lead_by`.

    Django's own `Index(condition=…)` warns at every `migrate` on MySQL and MariaDB (models.W037).
    """

    def __init__(self, *, where: Q, lead_by: Sequence[str] = (), **options: Any) -> None:
        super().__init__(**options)
        self.where = where
        self.lead_by = tuple(lead_by)

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        path, args, options = super().deconstruct()
        return path, args, {**options, "where": self.where, "lead_by": self.lead_by}

    def create_sql(
        self, model: type[Model], schema_editor: BaseDatabaseSchemaEditor, using: str = "", **options: Any
    ) -> Statement:
        if schema_editor.connection.features.supports_partial_indexes:
            index = Index(fields=self.fields, name=self.name, condition=self.where)
        else:
            index = Index(fields=[*self.lead_by, *self.fields], name=self.name)
        return index.create_sql(model, schema_editor, using, **options)


class StorageParameters(Operation):
    """Storage parameters of a model's table on PostgreSQL, such as its fillfactor; elsewhere there are none.

    A migration that `makemigrations` writes again lacks it: models have no such parameters.
    """

    reversible = True

    def __init__(self, model: str, parameters: Mapping[str, float]) -> None:
        self.model = model
        self.parameters = dict(parameters)

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Models know nothing of it."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        values = ", ".join(f"{name} = {value}" for name, value in self.parameters.items())
        self._alter(app_label, schema_editor, to_state, f"SET ({values})")

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        self._alter(app_label, schema_editor, to_state, f"RESET ({', '.join(self.parameters)})")

    def _alter(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, state: ProjectState, change: str
    ) -> None:
        model: Any = state.apps.get_model(app_label, self.model)
        connection = schema_editor.connection
        if connection.vendor == "postgresql" and self.allow_migrate_model(connection.alias, model):
            table = schema_editor.quote_name(model._meta.db_table)
            schema_editor.execute(f"ALTER TABLE {table} {change}")

    def describe(self) -> str:
        return f"Storage parameters of {self.model} on PostgreSQL"
