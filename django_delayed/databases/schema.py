"""Checks that the tables are as the migrations make them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from pkgutil import iter_modules

from django.db import models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder


def unapplied_migrations(connection: BaseDatabaseWrapper, app_label: str) -> list[str]:
    """The names of the migrations of an app that the database has not recorded."""
    # A MigrationLoader would import the migrations of all apps, which takes seconds in a large project.
    module, _ = MigrationLoader.migrations_module(app_label)
    if module is None:
        # MIGRATION_MODULES says that the app has none.
        return []
    found = iter_modules(import_module(module).__path__)
    names = {one.name for one in found if not one.ispkg and one.name[0] not in "_~"}
    applied = MigrationRecorder(connection).applied_migrations()
    return sorted(names - {name for app, name in applied if app == app_label})


def missing_parts(connection: BaseDatabaseWrapper, made: Iterable[type[models.Model]]) -> Iterator[str]:
    """The parts that the tables of these models lack, a sentence for each table, column and index."""
    introspection = connection.introspection
    with connection.cursor() as cursor:
        tables = set(introspection.table_names(cursor))
        for model in made:
            meta = model._meta
            if not router.allow_migrate_model(connection.alias, model):
                continue
            if meta.db_table not in tables:
                yield f"There is no table {meta.db_table}."
                continue
            columns = {one.name for one in introspection.get_table_description(cursor, meta.db_table)}
            named = introspection.get_constraints(cursor, meta.db_table)
            for field in meta.local_concrete_fields:
                if field.column not in columns:
                    yield f"The table {meta.db_table} has no column {field.column}."
            for index in meta.indexes:
                if index.name not in named:
                    yield f"The table {meta.db_table} has no index {index.name}."
