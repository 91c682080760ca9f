"""The test project's settings, with a database of the benchmarks' own and their jobs."""

import os
import sys
from pathlib import Path

os.environ.setdefault("DATABASE_NAME", "django_delayed_benchmark")
os.environ.setdefault("DEBUG", "0")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "testproject"))

from settings import *  # noqa: F403

DJANGO_DELAYED = {"TRUSTED_MODULES": ["workload"]}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(created)f %(levelname)s %(message)s"}},
    "handlers": {
        "file": {
            "class": "logging.FileHandler",
            "filename": os.environ.get("BENCH_LOG", os.devnull),
            "formatter": "plain",
        }
    },
    "loggers": {"django_delayed": {"handlers": ["file"], "level": "INFO"}},
}
