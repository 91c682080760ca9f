"""What a claim reads in a table with many rows that it does not want: its plan and how much it touches."""

import json
import re
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import Count
from django.urls import reverse
from django.utils import timezone
from django_delayed import claiming, stats
from django_delayed.databases import DatabaseNow, Filters
from django_delayed.models import DelayedJob, JobStat
from django_delayed.states import State
from django_delayed.stats import counts

W1 = "1" * 32
INDEX = "delayed_job_lanes"
TABLE = DelayedJob._meta.db_table
KEY = {"PRIMARY", f"{TABLE}_pkey"}
SERVED = Filters(queues=("served",))
FUTURE, UNSERVED, FAILED, READY = 64_000, 32_000, 16_000, 8_000
RETRYING, FINISHED, EXPIRED = 2_000, 4_000, 100
LANES = 7

vendor = connection.vendor


@pytest.fixture(scope="module", autouse=True)
def many_rows(django_db_setup, django_db_blocker):
    """Future rows of a better priority, failed ones, ready ones of queues not served; a few to claim."""
    with django_db_blocker.unblock():
        multiply(FUTURE, queue="served", priority=-10, run_at=timedelta(days=1))
        multiply(FAILED, queue="served", priority=-10, failed_at=timezone.now())
        multiply(UNSERVED, queue="not served", priority=-5)
        for number in range(LANES - 3):
            multiply(1, queue=f"not served {number}", priority=number)
        multiply(RETRYING, queue="not served", priority=-5, attempts=2)
        now, day = timezone.now(), timedelta(days=1)
        multiply(FINISHED, queue="finished", finished_at=now, expires_at=now + day)
        multiply(EXPIRED, queue="finished", finished_at=now, expires_at=now - day)
        multiply(READY, queue="served", priority=0)
        yield
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {TABLE}")
            if vendor == "postgresql":  # so that the dead rows of this module do not slow down the next one
                cursor.execute(f"VACUUM {TABLE}")


def multiply(count, run_at=timedelta(0), **columns):
    """Write `count` equal rows; each statement doubles their number."""
    row = DelayedJob(name="a job", payload="{}", run_at=timezone.now() + run_at, **columns)
    row.save()
    fields = ", ".join(field.column for field in row._meta.concrete_fields if not field.primary_key)
    written = 1
    while written < count:
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {TABLE} ({fields})"
                f" SELECT {fields} FROM {TABLE} WHERE id >= %s ORDER BY id LIMIT %s",
                [row.pk, count - written],
            )
            written += cursor.rowcount


# InnoDB collects statistics by itself within seconds. Until then, it reads the whole index after hundreds of
# lanes.
@pytest.fixture(params=["statistics"] if vendor == "mysql" else ["no statistics", "statistics"])
def statistics(request):
    """Whether the planner has statistics of the table; after a sudden flood of jobs it has none."""
    if request.param == "statistics":
        with connection.cursor() as cursor:
            cursor.execute(f"{'ANALYZE TABLE' if vendor == 'mysql' else 'ANALYZE'} {TABLE}")
            cursor.fetchall() if vendor == "mysql" else None


def statements_of(function):
    """The statements that the function runs, each with its parameters, and what it returns."""
    statements = []

    def note(execute, sql, params, many, context):
        statements.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        rows = function()
    return statements, rows


def explain_claim(limit):
    """The plan of the statements of a claim, except that of the lanes, and how much they touched."""
    (_, *taking), rows = statements_of(lambda: DelayedJob.objects.claim(W1, limit, SERVED))
    assert len(rows) == limit
    DelayedJob.objects.release(rows)
    steps, touched = [], 0
    with transaction.atomic():
        for sql, params in taking:
            if sql.startswith("SET"):
                with connection.cursor() as cursor:
                    cursor.execute(sql, params)
                continue
            more, reads = explain(sql, params)
            steps, touched = steps + more, touched + reads
        transaction.set_rollback(True)
    return steps, touched


def explain(sql, params):
    """The plan as the database shows it, one dict a step, and how many rows or pages it touched in all."""
    with transaction.atomic(), connection.cursor() as cursor:
        steps, touched = EXPLAIN[vendor](cursor, sql, params)
        transaction.set_rollback(True)
    return steps, touched


def explain_postgresql(cursor, sql, params):
    cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", params)
    [[answer]] = cursor.fetchall()
    [answer] = json.loads(answer) if isinstance(answer, str) else answer
    steps, rest = [], [answer["Plan"]]
    while rest:
        step = rest.pop()
        steps.append(
            {"how": step["Node Type"], "on": step.get("Relation Name"), "by": step.get("Index Name")}
        )
        rest += step.get("Plans", [])
    return steps, answer["Plan"]["Shared Hit Blocks"] + answer["Plan"]["Shared Read Blocks"]


def index_in(line):
    named = re.search(r"delayed_job_\w+", line.replace(TABLE, ""))
    return named[0] if named else "PRIMARY" if "PRIMARY KEY (rowid=?)" in line else None


def explain_sqlite(cursor, sql, params):
    cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
    lines = [line for _, _, _, line in cursor.fetchall()]
    steps = [
        {
            "how": line,
            "on": TABLE if TABLE in line else None,
            "by": index_in(line),
        }
        for line in lines
    ]
    counted = []
    # It is called after each ten instructions of SQLite's virtual machine.
    connection.connection.set_progress_handler(lambda: counted.append(10), 10)
    try:
        cursor.execute(sql, params)
        cursor.fetchall()
    finally:
        connection.connection.set_progress_handler(None, 0)
    return steps, sum(counted) // 10


def explain_mysql(cursor, sql, params):
    cursor.execute(f"EXPLAIN {sql}", params)
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    steps = [
        {
            "how": f"{row['type']}: {row['Extra']}",
            "on": TABLE if row["table"] == TABLE else None,
            "by": row["key"],
        }
        for row in rows
    ]
    before = handler_reads(cursor)
    cursor.execute(sql, params)
    cursor.fetchall()
    return steps, handler_reads(cursor) - before


def handler_reads(cursor):
    cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
    return sum(int(value) for _, value in cursor.fetchall())


EXPLAIN = {"postgresql": explain_postgresql, "sqlite": explain_sqlite, "mysql": explain_mysql}
FULL = {"postgresql": ("Seq Scan", "Sort"), "sqlite": (f"SCAN {TABLE}", "TEMP B-TREE")}.get(
    vendor, ("ALL:", "index:", "Using temporary", "Using filesort")
)


def by_which_index(steps):
    on_table = [step for step in steps if step["on"] == TABLE and step["how"] != "ModifyTable"]
    assert on_table
    # The table of paused queues may be read as a whole: it has a few rows at most.
    assert not [step for step in on_table if step["how"].startswith(FULL)]
    others = [step for step in steps if step["on"] or step["by"] not in KEY]
    assert not [step for step in others if any(sign in step["how"] for sign in FULL[1:])]
    return {step["by"] for step in on_table}


def test_the_lanes_are_found_by_the_index_alone(statistics):
    rows = DelayedJob.objects.all()
    [(sql, params)], lanes = statements_of(lambda: claiming.lanes(rows))
    steps, touched = explain(sql, params)
    assert len(lanes) == LANES
    assert by_which_index(steps) == {INDEX}
    assert touched < 100 * LANES
    if vendor == "mysql":
        assert any("Using index for group-by" in step["how"] for step in steps)


@pytest.mark.parametrize("limit", [1, 50])
def test_a_claim_takes_its_rows_by_the_index_and_by_their_keys(statistics, limit):
    steps, touched = explain_claim(limit)
    indexes = by_which_index(steps)
    assert INDEX in indexes
    assert indexes <= {INDEX, *KEY}
    assert touched < 1000 + 40 * limit


def test_looking_for_the_next_due_job_reads_the_index_alone(statistics):
    [(sql, params)], _ = statements_of(lambda: DelayedJob.objects.next_due(SERVED))
    assert by_which_index(explain(sql, params)[0]) == {INDEX}


def test_a_held_row_is_moved_by_its_key(statistics):
    moves = [
        lambda row: DelayedJob.objects.finish(row),
        lambda row: DelayedJob.objects.release([row]),
    ]
    with transaction.atomic():
        for move in moves:
            [row] = DelayedJob.objects.claim(W1, 1, SERVED)
            row.lock_token += 1  # so that the row stays as it is
            [(sql, params)], moved = statements_of(lambda row=row, move=move: move(row))
            assert not moved
            assert by_which_index(explain(sql, params)[0]) <= KEY
        transaction.set_rollback(True)


def of_cause(rows):
    return rows.failed().filter(error_fingerprint="")


# What is counted and removed apart from claims: by an index that has all columns of the query, so that no
# row is read.
QUESTIONS = {
    "failed": (lambda rows: rows.failed().count(), "delayed_job_failed"),
    "failed of a queue": (lambda rows: rows.failed().filter(queue="served").count(), "delayed_job_failed"),
    "newest failures of a cause": (
        lambda rows: list(of_cause(rows).order_by("-failed_at", "-id").values_list("pk")[:50]),
        "delayed_job_failed",
    ),
    "oldest failures of a cause": (
        lambda rows: list(of_cause(rows).order_by("failed_at", "id").values_list("pk")[:10_001]),
        "delayed_job_failed",
    ),
    "retrying": (lambda rows: rows.retrying().count(), "delayed_job_retrying"),
}
READS_THE_INDEX_ALONE = {
    "postgresql": lambda step: step["how"] == "Index Only Scan",
    # SQLite reads the row for the columns in the condition of an index, here the row of each retrying job.
    "sqlite": lambda step: "COVERING INDEX" in step["how"] or step["by"] == "delayed_job_retrying",
    "mysql": lambda step: "Using index" in step["how"],
}[vendor]


@pytest.fixture
def vacuumed():
    """PostgreSQL reads only the index if VACUUM has found that every transaction sees the rows."""
    with connection.cursor() as cursor:
        if vendor == "mysql":
            cursor.execute(f"ANALYZE TABLE {TABLE}")
            cursor.fetchall()
        else:
            cursor.execute(f"VACUUM ANALYZE {TABLE}" if vendor == "postgresql" else "ANALYZE")


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_count_reads_its_index_alone(vacuumed, name):
    ask, index = QUESTIONS[name]
    [(sql, params)], _ = statements_of(lambda: ask(DelayedJob.objects.all()))
    steps, _ = explain(sql, params)
    on_table = [step for step in steps if step["on"]]
    assert {step["by"] for step in on_table} == {index}
    assert all(READS_THE_INDEX_ALONE(step) for step in on_table)


def test_the_causes_are_counted_by_the_index_of_failed_jobs_alone(vacuumed):
    statements, [cause] = statements_of(lambda: stats.causes(50))
    assert (cause.jobs, cause.queues) == (FAILED, {"served": FAILED})
    assert len(statements) == 2
    for sql, params in statements:
        on_table = [step for step in explain(sql, params)[0] if step["on"]]
        assert {step["by"] for step in on_table} == {"delayed_job_failed"}
        assert all(READS_THE_INDEX_ALONE(step) for step in on_table)


def test_the_numbers_of_the_queues_are_counted_by_indexes(vacuumed):
    claiming.forget_lanes()
    waiting = stats.lanes()
    statements, found = statements_of(lambda: stats.queue_numbers(waiting, 100))
    # Only the jobs of all queues that failed last are counted.
    assert found["served"].failed == stats.MOST_COUNTED < FAILED
    assert found["not served"].waiting == found["not served"].due == stats.MOST_COUNTED + 1
    assert len(statements) == 3
    used = set()
    for sql, params in statements:
        used.update(step["by"] for step in explain(sql, params)[0] if step["on"])
    assert used == {"delayed_job_held", "delayed_job_failed", INDEX}


COUNTED = {
    "delayed_job_failed": lambda rows: rows.failed(),
    "delayed_job_retrying": lambda rows: rows.retrying(),
    INDEX: lambda rows: rows.waiting(),
}


@pytest.mark.parametrize("name", COUNTED)
def test_a_capped_count_reads_its_index_and_stops(vacuumed, name):
    rows = stats.by_index(COUNTED[name](DelayedJob.objects), name)
    [(sql, params)], [count] = statements_of(lambda: stats.capped_counts([rows]))
    assert count == (RETRYING if "retrying" in name else stats.MOST_COUNTED + 1)
    steps, touched = explain(sql, params)
    # Both are led by the column `claimable` on MariaDB.
    either = {INDEX: "delayed_job_retrying"} if vendor == "mysql" else {}
    assert {step["by"] for step in steps if step["on"]} <= {name, either.get(name)} - {None}
    # PostgreSQL reports pages, and SQLite the instructions of its virtual machine.
    assert touched < 15 * count


@pytest.fixture
def three_days(django_db_setup, django_db_blocker):
    """The numbers of a worker, every 18 seconds."""
    now, numbers = timezone.now(), dict.fromkeys(("processed", "failed", "waited", "ran", "longest"), 1)
    moments = [now - timedelta(seconds=18 * number) for number in range(14_400)]
    # This is not in the transaction of a test: on MariaDB, ANALYZE ends it.
    with django_db_blocker.unblock():
        JobStat.objects.bulk_create(
            JobStat(id=number, minute=minute, **numbers) for number, minute in enumerate(moments)
        )
        with connection.cursor() as cursor:
            cursor.execute(f"{'ANALYZE TABLE' if vendor == 'mysql' else 'ANALYZE'} {JobStat._meta.db_table}")
            cursor.fetchall() if vendor == "mysql" else None
        yield
        JobStat.objects.all().delete()


def test_the_charts_of_an_hour_read_the_minutes_of_that_hour(three_days, db):
    [(sql, params)], performed = statements_of(lambda: stats.throughput(stats.SPANS["hour"]))
    assert sum(each.processed for each in performed) >= 190
    steps, touched = explain(sql, params)
    assert "delayed_job_stat" in {step["by"] for step in steps}
    assert touched < 20 * 200


def test_the_jobs_of_an_object_are_listed_by_their_index(statistics, admin_client):
    about = "blog.post:9"
    DelayedJob.objects.bulk_create(DelayedJob(name="a job", payload="{}", about=about) for _ in range(60))
    address = reverse("admin:django_delayed_delayedjob_changelist")
    statements, response = statements_of(lambda: admin_client.get(address, {"q": about}))
    listed = response.context["cl"]
    assert (listed.result_count, len(listed.result_list)) == (60, 50)
    of_object = [(sql, params) for sql, params in statements if params and about in params]
    assert of_object
    for sql, params in of_object:
        steps, touched = explain(sql, params)
        assert not [step for step in steps if step["on"] and step["how"].startswith(FULL[0])]
        # For a bitmap scan, PostgreSQL shows the index and the table as two steps.
        assert {step["by"] for step in steps if step["by"]} <= {"delayed_job_about", *KEY}
        # PostgreSQL reports pages, and SQLite the instructions of its virtual machine.
        assert touched < 100 * 60


# With a million rows, each would take the admin seconds if it read rows that it does not list.
LISTS = [
    *({"state": state.value} for state in State),
    *(
        {"state": state, "queue": "served"}
        for state in ("scheduled", "enqueued", "retrying", "failed", "finished")
    ),
    {"q": "no such name"},
    {"q": "no such name", "state": "failed"},
    {"q": "a job", "state": "retrying"},
    {"q": "no such name", "state": "scheduled"},
    {"queue": "not served"},
    {"queue": "nowhere"},
    {"created_at__range__gte_0": "2000-01-01"},
]


@pytest.mark.parametrize("query", LISTS, ids=str)
def test_a_list_of_the_admin_reads_no_more_than_it_looks_at(vacuumed, admin_client, query, monkeypatch):
    # In a table as small as this one, PostgreSQL finds a scan cheaper than 1,000 rows by their keys.
    for module in (stats, counts):
        monkeypatch.setattr(module, "MOST_COUNTED", 100)
    address = reverse("admin:django_delayed_delayedjob_changelist")
    admin_client.get(address)
    statements, response = statements_of(lambda: admin_client.get(address, query))
    assert response.status_code == 200
    assert len(statements) <= 12
    of_jobs = [(sql, params) for sql, params in statements if TABLE in sql and sql.startswith("SELECT")]
    assert len(of_jobs) >= 2
    for sql, params in of_jobs:
        steps, touched = explain(sql, params)
        scanned = [step for step in steps if step["on"] == TABLE and step["how"].startswith(FULL[0])]
        # SQLite also calls it a scan when it goes by the primary key and stops at a LIMIT.
        assert not scanned or vendor == "sqlite"
        # PostgreSQL reports pages, and SQLite the instructions of its virtual machine.
        assert touched < {"postgresql": 60_000, "mysql": 200_000, "sqlite": 4_000_000}[vendor]


def test_the_list_of_running_jobs_reads_only_these(vacuumed, admin_client):
    DelayedJob.objects.create(name="a job", payload="{}", locked_at=timezone.now(), locked_by="w" * 32)
    address = reverse("admin:django_delayed_delayedjob_changelist")
    statements, response = statements_of(lambda: admin_client.get(address, {"state": "running"}))
    assert response.context["cl"].result_count == 1
    for sql, params in statements:
        if TABLE in sql and sql.startswith("SELECT"):
            _, touched = explain(sql, params)
            assert touched < 2_000


def test_pruning_looks_only_at_the_rows_that_have_expired(statistics):
    rows = DelayedJob.objects.filter(expires_at__lte=DatabaseNow()).values_list("pk", flat=True)
    [(sql, params)], found = statements_of(lambda: list(rows))
    assert len(found) == EXPIRED
    steps, touched = explain(sql, params)
    assert {step["by"] for step in steps if step["on"]} == {"delayed_job_expires"}
    assert touched < 40 * EXPIRED


def test_the_rows_that_a_claim_does_not_want_are_there():
    counts = dict(DelayedJob.objects.values_list("queue").annotate(Count("pk")))
    assert counts["served"] == FUTURE + FAILED + READY
    assert counts["not served"] == UNSERVED + RETRYING
    assert counts["finished"] == FINISHED + EXPIRED
