"""Unique jobs in the admin: the key on their page, and the jobs that a move skips."""

import pytest
from django_delayed import Unique, enqueue, enqueue_all
from django_delayed.models import DelayedJob
from django_delayed.states import State
from tests.admin.pages import said
from tests.blog.jobs import Plain


@pytest.fixture
def retry(operator, page):
    """Retry these jobs from the list. Returns the message to the operator."""

    def answer(rows, **headers):
        chosen = {"action": "retry", "confirmed": "yes", "_selected_action": [row.pk for row in rows]}
        return said(operator.post(page(), chosen, **headers))[-1]

    return answer


@pytest.fixture
def failed(db, job):
    """Write unique jobs that have failed, and equal jobs that wait for some of them."""

    def write(count, equal):
        rows = enqueue_all([Plain(n) for n in range(count)], unique=True)
        DelayedJob.objects.update(failed_at="2026-01-01T00:00Z")
        enqueue_all([Plain(n) for n in range(equal)], unique=True)
        return rows

    return write


def test_jobs_with_an_equal_job_that_waits_are_counted_separately(retry, failed, job):
    rows = failed(5, equal=2)
    assert retry([*rows, job()]) == "4 jobs retried. 2 skipped: equal jobs wait."


def test_jobs_that_are_skipped_for_other_reasons_are_counted_too(retry, failed, job):
    rows = [*failed(2, equal=1), job(), job(State.RUNNING)]
    what = "2 retried, 1 skipped: only failed jobs can be retried."
    assert retry(rows) == f"{what} 1 skipped: an equal job waits."


def test_the_message_is_translated_into_german(retry, failed):
    said = retry(failed(1, equal=1), headers={"accept-language": "de"})
    assert said.endswith("1 übersprungen: Ein gleicher Job wartet.")


def test_a_retry_from_the_page_of_a_job_says_that_an_equal_job_waits(operator, page, failed):
    [row] = failed(1, equal=1)
    response = operator.post(page(row.pk, of="retry"), {"confirmed": "yes"})
    assert said(response) == ["0 jobs retried. 1 skipped: an equal job waits."]
    assert DelayedJob.objects.failed().get() == row


@pytest.mark.parametrize(
    ("unique", "text"),
    [
        (Unique("index of <b>9</b>"), "index of &lt;b&gt;9&lt;/b&gt;, until it begins"),
        (Unique(("shop", 9), until="finish"), ", until it ends"),
        (Unique(), "by its arguments, until it begins"),
    ],
)
def test_the_page_of_a_job_shows_its_key(operator, page, db, unique, text):
    row = enqueue(Plain(1), unique=unique)
    assert text in operator.get(page(row.pk, of="change")).text


def test_only_users_who_may_view_arguments_see_a_key(client, staff, page, db):
    row = enqueue(Plain(1), unique=Unique("a secret"))
    client.force_login(staff("view_delayedjob"))
    text = client.get(page(row.pk, of="change")).text
    assert "a secret" not in text
    assert "Unique" not in text


def test_the_page_of_a_plain_job_does_not_mention_keys(operator, page, job):
    assert "Unique" not in operator.get(page(job().pk, of="change")).text
