"""The loop of a worker, in the process of the tests."""

import pytest
from django.db import OperationalError
from django_delayed import enqueue_all
from django_delayed.models import DelayedJob, WorkerProcess
from django_delayed.worker.configuration import Configuration
from django_delayed.worker.work_off import work_off
from tests.blog.jobs import Plain
from tests.connections import wrapped

pytestmark = pytest.mark.django_db(transaction=True)


def test_rows_of_a_claim_whose_answer_was_lost_are_released_and_performed(diary, caplog):
    enqueue_all([Plain(number) for number in range(3)])
    lost = []

    def lose_the_answer(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if "attempts = attempts + 1" in sql and not lost:
            lost.extend(DelayedJob.objects.running())
            raise OperationalError("the connection was cut")
        return result

    with wrapped(lose_the_answer):
        assert work_off(Configuration()) is True
    assert len(lost) == 1
    assert "The database is unavailable, trying again in" in caplog.text
    assert sorted(diary) == [("plain", (number,), {}) for number in range(3)]
    assert not DelayedJob.objects.exists()
    assert not WorkerProcess.objects.exists()
