"""The queues that are measured: where each runs, how it is installed, and how its workers are started."""

from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DJANGO = ["psycopg[binary]", "mysqlclient"]
OURS = [f"{ROOT}[cron]"]
EVERYWHERE = ("postgresql", "mariadb", "sqlite")


@dataclass(frozen=True)
class Contender:
    """One queue. `workers` has, for each way to run its worker, the arguments of `python -m`."""

    name: str
    family: str
    requirements: list[str]
    workers: dict[str, list[str]]
    # The call that enqueues many jobs.
    bulk: str
    databases: tuple[str, ...] = EVERYWHERE
    # The report names the versions of these distributions.
    versions: list[str] = field(default_factory=list)

    @property
    def settings(self):
        """The module of its settings."""
        return f"benchmarks.settings.{self.name}"


CONTENDERS = [
    Contender(
        "django_delayed",
        "delayed",
        OURS,
        {
            "defaults": ["django", "jobs_work"],
            "batching off": ["django", "jobs_work", "--read-ahead", "1"],
        },
        "enqueue_many()",
        versions=["django-delayed"],
    ),
    Contender(
        "django_delayed_tasks",
        "tasks",
        OURS,
        {"results kept": ["django", "jobs_work"]},
        "none",
        versions=["django-delayed"],
    ),
    Contender(
        "bare_sql",
        "bare",
        OURS,
        {
            "one by one": ["benchmarks.families.bare", "1"],
            "by 100": ["benchmarks.families.bare", "100"],
        },
        "COPY, or 1,000 a transaction",
    ),
    Contender("django_orm", "orm", OURS, {}, "bulk_create(), 1,000 a call"),
    Contender(
        "django_tasks_db",
        "tasks",
        ["django-tasks-db"],
        {"defaults": ["django", "db_worker"]},
        "none",
        versions=["django-tasks-db"],
    ),
    Contender(
        "django_ox",
        "tasks",
        ["django-ox"],
        {
            "1 thread": ["django", "ox_worker"],
            "4 threads": ["django", "ox_worker", "--concurrency", "4"],
        },
        "enqueue_many()",
        versions=["django-ox"],
    ),
    Contender(
        "dj_queue",
        "tasks",
        ["dj-queue"],
        {"3 threads": ["django", "dj_queue"]},
        "enqueue_all()",
        versions=["dj-queue"],
    ),
    Contender(
        "procrastinate",
        "procrastinate_app",
        ["procrastinate[django]"],
        {"defaults": ["django", "procrastinate", "worker"]},
        "batch_defer(), 1,000 a call",
        databases=("postgresql",),
        versions=["procrastinate"],
    ),
    Contender(
        "django_q2",
        "q2",
        ["django-q2"],
        {"1 process": ["django", "qcluster"]},
        "none",
        versions=["django-q2"],
    ),
    Contender(
        "pgqueuer",
        "pgq",
        ["pgqueuer", "asyncpg"],
        {
            "defaults": ["benchmarks.families.pgq", "10"],
            "batches of 100": ["benchmarks.families.pgq", "100"],
        },
        "enqueue() of lists of 1,000",
        databases=("postgresql",),
        versions=["pgqueuer", "asyncpg"],
    ),
    Contender(
        "huey",
        "huey_app.tasks",
        ["huey"],
        {"1 thread": ["django", "run_huey"]},
        "none",
        databases=("sqlite",),
        versions=["huey"],
    ),
    # It runs on Redis; the report lists it with the queues that run on PostgreSQL.
    Contender(
        "celery",
        "celery_app",
        ["celery[redis]"],
        {
            "1 process": ["celery", "-A", "benchmarks.families.celery_app", "worker", "-c", "1"],
            "solo": ["celery", "-A", "benchmarks.families.celery_app", "worker", "--pool", "solo"],
        },
        "none",
        databases=("postgresql",),
        versions=["celery", "redis"],
    ),
]
