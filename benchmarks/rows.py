"""Very many rows of jobs, written by the database itself."""

from django.db import connections
from django_delayed.models import DelayedJob

MOST = 100_000


def multiply(row, count, alias="default", **columns):
    """Write `count` rows like this one, except for these columns; each statement doubles them, up to MOST."""
    table = DelayedJob._meta.db_table
    fields = [field for field in DelayedJob._meta.concrete_fields if not field.primary_key]
    values = {field.attname: getattr(row, field.attname) for field in fields} | columns
    if row.pk:
        row.delete()
    first = DelayedJob.objects.using(alias).create(**values).pk
    names = ", ".join(field.column for field in fields)
    written = 1
    while written < count:
        with connections[alias].cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} ({names})"
                f" SELECT {names} FROM {table} WHERE id >= %s ORDER BY id LIMIT %s",
                [first, min(count - written, MOST)],
            )
            written += cursor.rowcount
