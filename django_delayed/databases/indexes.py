"""An index over some rows only, in the form that each database has for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement
from django.db.models import Index, Model, Q


class PartialIndex(Index):
    """An index over the rows that `where` picks; without partial indexes, a plain one led by `lead_by`.

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
