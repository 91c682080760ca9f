"""Values that an UPDATE by hand can write and no worker can read; the key says what is odd."""

from django.db import connection

ODD = {
    "postgresql": {
        "run_at in the infinite past": "run_at = '-infinity'",
        "run_at before Christ": "run_at = '0100-01-01 BC'",
        "created in the year 20000": "created_at = '20000-01-01'",
        "attempts at their end": "attempts = 2147483647",
    },
    "mysql": {
        "run_at zero": "run_at = '0000-00-00'",
        "attempts at their end": "attempts = 4294967295",
    },
    "sqlite": {
        "attempts at their end": "attempts = 9223372036854775807",
        "attempts beyond the column": "attempts = 2147483647",
        "crashes of text": "crashes = 'none'",
        "max_attempts of text": "max_attempts = 'all'",
        "payload of bytes": "payload = x'ff'",
        "run_at of a number": "run_at = 1",
        "a thirteenth month": "created_at = '2026-13-45 00:00:00'",
    },
}[connection.vendor]
NEVER_DUE = {
    "postgresql": {"run_at never": "run_at = 'infinity'", "run_at in 20000": "run_at = '20000-01-01'"},
    "mysql": {},
    "sqlite": {"run_at of text": "run_at = 'soon'", "priority of text": "priority = 'high'"},
}[connection.vendor]


def write_by_hand(pk, assignment):
    """Give the row these values, which no enqueue writes."""
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SET SESSION sql_mode = ''")
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute(f"UPDATE django_delayed_delayedjob SET {assignment} WHERE id = {pk}")
    connection.close()
