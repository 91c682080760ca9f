"""The provider that docs/context.md shows."""

from django.db import connection
from django_tenants.utils import schema_context


class Tenant:
    @staticmethod
    def capture():
        return connection.schema_name

    @staticmethod
    def restore(value):
        return schema_context(value)
