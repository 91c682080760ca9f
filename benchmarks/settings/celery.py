"""https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/redis.html, without results.

BENCH_REDIS is the address of Redis, redis://127.0.0.1:6379/0 by default.
"""

import os

from .common import *  # noqa: F403

CELERY_BROKER_URL = os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379/0")
CELERY_TASK_DEFAULT_QUEUE = "django_delayed_benchmarks"
