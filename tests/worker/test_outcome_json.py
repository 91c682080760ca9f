"""An outcome is loaded from its JSON as it was, except for Python objects: the job and the exception."""

import json
from dataclasses import fields, replace
from datetime import timedelta
from typing import get_args

import pytest
from django_delayed.execution.outcomes import (
    Cancelled,
    Crashed,
    Discarded,
    Failed,
    Finished,
    Interrupted,
    Outcome,
    Released,
    Rescheduled,
    Snoozed,
    Suspected,
)
from django_delayed.models import DelayedJob
from django_delayed.serialization.errors import TEXT_LIMIT, describe
from django_delayed.worker.outcome_json import dump_outcome, load_outcome, size_limit
from tests.blog.jobs import Plain

JOB = Plain(1)
ERROR = ValueError("odd \N{PILE OF POO}\n")
HOW = {"exception": ERROR, "job_class": Plain, "duration": 0.25}
TEXT = describe(ERROR, "Plain")
OUTCOMES = [
    Finished(JOB, 1.5),
    Snoozed(JOB, timedelta(days=36525, microseconds=1), 0.5),
    Snoozed(None, timedelta(0), 0.5),
    Rescheduled(JOB, TEXT, **HOW, wait=timedelta(seconds=7.000001), history='{"a": 1}'),
    Failed(JOB, TEXT, **HOW),
    Failed(None, TEXT, exception=ERROR),
    Discarded(JOB, TEXT, **HOW),
    Cancelled(JOB, TEXT, **HOW),
    Crashed(None, TEXT, exception=ERROR, wait=None),
    Crashed(None, TEXT, exception=ERROR, wait=timedelta(seconds=30)),
    Released(),
    Interrupted("its worker was killed"),
    Suspected(),
]


def kept(outcome):
    own = ("job", "exception", "job_class")
    return {field.name: getattr(outcome, field.name) for field in fields(outcome) if field.name not in own}


def test_each_kind_of_outcome_is_tested():
    assert {type(outcome) for outcome in OUTCOMES} == set(get_args(Outcome))


@pytest.mark.parametrize("number", range(len(OUTCOMES)))
def test_an_outcome_is_loaded_as_it_was_dumped(number):
    outcome = OUTCOMES[number]
    row = DelayedJob(result="")
    data = dump_outcome(row, outcome)
    assert b"\n" not in data
    found = load_outcome(row, data)
    assert type(found) is type(outcome)
    assert kept(found) == kept(outcome)


def test_the_result_and_the_extras_of_the_row_are_loaded_too():
    row = DelayedJob()
    load_outcome(row, dump_outcome(DelayedJob(result='{"value": 3}', extras=16), Finished(JOB, 1.0)))
    assert (row.result, row.extras) == ('{"value": 3}', 16)


def test_the_largest_outcome_fits_into_the_limit(settings):
    settings.DJANGO_DELAYED = {"MAX_ARGUMENTS_SIZE": 1000}
    longest = replace(TEXT, text="\x1b" * TEXT_LIMIT, message="\x1b" * 255, error_class="\x1b" * 255)
    row = DelayedJob(result=json.dumps('"' * 498))
    assert len(row.result) <= 1000
    outcome = Rescheduled(JOB, longest, **HOW, wait=timedelta(days=36525))
    assert len(dump_outcome(row, outcome)) < size_limit()
