from datetime import timedelta

import pytest
from django.utils import timezone
from django_delayed.models import DelayedJob, Progress
from django_delayed.states import State
from tests.language import english

__all__ = ["english"]

HOUR = timedelta(hours=1)
SECRET = "s3cret"


@pytest.fixture
def job(db):
    """Write a job in this state, with this progress."""

    def write(state=State.RUNNING, done=None, total=None, note="", **columns):
        now = timezone.now()
        error = {"attempts": 1, "last_error": SECRET, "error_class": SECRET, "error_message": SECRET}
        times = {
            State.SCHEDULED: {"run_at": now + HOUR},
            State.ENQUEUED: {"run_at": now - HOUR},
            State.RETRYING: {"run_at": now + HOUR, **error},
            State.RUNNING: {"run_at": now - HOUR, "attempts": 1, "locked_at": now, "locked_by": SECRET},
            State.FAILED: {"run_at": now - HOUR, "failed_at": now, **error},
            State.FINISHED: {"run_at": now - HOUR, "attempts": 1, "finished_at": now, "keep_for": HOUR},
        }
        given = {"name": SECRET, "about": f"shop.{SECRET}:1", "payload": SECRET, "queue": SECRET}
        row = DelayedJob.objects.create(**(given | times[state] | columns))
        if done is not None:
            Progress.objects.create(pk=row.pk, done=done, total=total, note=note, updated_at=now)
        return row

    return write
