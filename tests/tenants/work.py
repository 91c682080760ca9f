"""Perform jobs about notes of several tenants that have the same keys, and print the notes."""

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django_delayed.models import DelayedJob  # noqa: E402
from django_tenants.utils import schema_context  # noqa: E402
from tests.tenants.customers.models import Customer  # noqa: E402
from tests.tenants.notes.models import Note  # noqa: E402

SCHEMAS = ("blue", "red", "green")

call_command("migrate_schemas", shared=True, verbosity=0)
for schema in SCHEMAS:
    Customer(schema_name=schema).save(verbosity=0)
    with schema_context(schema):
        Note.objects.create(text=f"a note of {schema}")

# The second job leaves another schema active, which the others must not see.
for schema, left in (("blue", None), ("red", "green"), ("blue", None)):
    with schema_context(schema):
        Note.objects.get().delay().sign(left)

call_command("jobs_workoff", quiet=True)
for schema in SCHEMAS:
    with schema_context(schema):
        print(Note.objects.get().text)
print(DelayedJob.objects.count(), "jobs are left")
