"""SQLite and its statistics: after ANALYZE it must not build an index of its own at each claim."""

import pytest
from django.db import connection
from django_delayed.models import DelayedJob

W1 = "1" * 32

pytestmark = [
    pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite builds indexes for one statement"),
    pytest.mark.django_db(transaction=True),
]


@pytest.fixture
def analyzed():
    """A table with all waiting rows in one lane, and statistics that say so."""
    DelayedJob.objects.bulk_create(DelayedJob(name="a job", payload="{}") for _ in range(4150))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE sqlite_stat1")
    connection.close()


@pytest.mark.parametrize("limit", [1, 50])
def test_no_statement_of_a_claim_builds_an_index(analyzed, limit):
    plans = []

    def explain(execute, sql, params, many, context):
        # This uses the driver's own connection: a cursor of Django would call this wrapper again.
        asked = f"EXPLAIN QUERY PLAN {sql}".replace("%s", "?").replace("%%", "%")
        plans.extend(step for *_, step in connection.connection.execute(asked, params or ()))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        assert len(DelayedJob.objects.claim(W1, limit)) == limit
    assert [step for step in plans if "delayed_job_lanes" in step]
    assert [step for step in plans if "AUTOMATIC" in step] == []
