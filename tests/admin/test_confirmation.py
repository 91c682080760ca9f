import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.db import OperationalError
from django.utils import timezone
from django_delayed import states
from django_delayed.admin import confirmation, paginator, wording
from django_delayed.models import DelayedJob, FailedAttempt, WorkerRequest
from django_delayed.states import CANCELLED, DelayedJobQuerySet, State
from tests.admin.pages import hidden_fields, said


@pytest.fixture
def ask(operator, page):
    """Choose jobs and an action in the list. Returns the confirmation page."""

    def choose(action, *jobs, across=False, **query):
        data = {"action": action, "select_across": int(across), "index": 0}
        return operator.post(page(**query), data | {"_selected_action": [job.pk for job in jobs]})

    return choose


@pytest.mark.parametrize("words", wording.WORDINGS, ids=lambda words: words.name)
def test_an_action_asks_before_anything_moves(ask, job, rows, words):
    states = {"run_now": State.RETRYING, "give_up": State.RETRYING, "cancel": State.RUNNING}
    state = states.get(words.name, State.FAILED)
    jobs = [job(state) for _ in range(3)]
    before = rows()
    question = ask(words.name, *jobs[:2])
    assert words.question % {"count": 2} in question.text
    assert str(jobs[0]) in question.text
    assert str(jobs[2]) not in question.text
    assert str(words.consequence) in question.text
    assert rows() == before


def test_retry_makes_failed_jobs_ready_and_keeps_their_errors(ask, answer, job):
    row, other = job(crashes=2), job()
    response = answer(ask("retry", row))
    row.refresh_from_db()
    assert (row.state, row.attempts, row.crashes) == (State.ENQUEUED, 0, 0)
    assert row.last_error
    other.refresh_from_db()
    assert other.state == State.FAILED
    assert said(response) == ["1 job retried."]


def test_run_now_makes_waiting_jobs_due_and_keeps_their_attempts(ask, answer, job):
    early, retrying, failed = job(State.SCHEDULED), job(State.RETRYING), job()
    response = answer(ask("run_now", early, retrying, failed))
    assert said(response)[-1].startswith("2 made due, 1 skipped:")
    assert set(DelayedJob.objects.ready()) == {early, retrying}
    retrying.refresh_from_db()
    assert (retrying.state, retrying.attempts) == (State.RETRYING, 2)
    assert "run_now: 2 of 2" in LogEntry.objects.get().change_message


def test_a_job_that_was_moved_in_bulk_is_not_kept(ask, answer, job):
    rows = [job(), job()]
    answer(ask("retry", *rows))
    answer(ask("run_now", job(State.SCHEDULED), job(State.SCHEDULED)))
    assert set(DelayedJob.objects.values_list("keep_for", flat=True)) == {None}


def test_discard_deletes_jobs_with_their_attempts(ask, answer, job, failed_attempt):
    row, other = job(), job()
    failed_attempt(row)
    kept = failed_attempt(other)
    response = answer(ask("discard", row))
    assert list(DelayedJob.objects.all()) == [other]
    assert list(FailedAttempt.objects.all()) == [kept]
    assert said(response) == ["1 job discarded."]


def test_jobs_that_cannot_be_retried_are_skipped_and_counted(ask, answer, job):
    jobs = [job(), job(), job(State.SCHEDULED)]
    question = ask("retry", *jobs)
    assert "Retry 2 failed jobs?" in question.text
    assert "1 of the chosen jobs stays as it is" in question.text
    assert said(answer(question))[-1].startswith("2 retried, 1 skipped:")


def test_a_running_job_is_not_discarded(ask, answer, job):
    running, failed = job(State.RUNNING), job()
    response = answer(ask("discard", running, failed))
    assert list(DelayedJob.objects.all()) == [running]
    assert said(response)[-1].startswith("1 discarded, 1 skipped:")


@pytest.mark.parametrize("state", set(State) - {State.RUNNING})
def test_every_other_state_can_be_discarded(ask, answer, job, state):
    answer(ask("discard", job(state)))
    assert not DelayedJob.objects.exists()


def test_a_job_that_a_worker_claimed_meanwhile_is_skipped(ask, answer, job):
    claimed, left = job(State.ENQUEUED, queue="claimed"), job(State.ENQUEUED)
    question = ask("discard", claimed, left)
    now = timezone.now()
    DelayedJob.objects.filter(pk=claimed.pk).update(locked_at=now, locked_by="w", attempts=1)
    assert said(answer(question))[-1].startswith("1 discarded, 1 skipped:")
    assert list(DelayedJob.objects.all()) == [claimed]


def test_a_second_operator_moves_no_job_twice(ask, answer, job):
    row = job()
    questions = [ask("retry", row), ask("retry", row)]
    assert said(answer(questions[0]))[-1] == "1 job retried."
    DelayedJob.objects.update(attempts=1, run_at=timezone.now() + timedelta(hours=1))
    assert said(answer(questions[1]))[-1].startswith("0 retried, 1 skipped:")
    row.refresh_from_db()
    assert row.attempts == 1


def test_a_job_that_is_gone_is_skipped(ask, answer, job):
    jobs = [job(), job()]
    question = ask("retry", *jobs)
    DelayedJob.objects.filter(pk=jobs[0].pk).delete()
    assert said(answer(question))[-1].startswith("1 retried, 1 skipped:")


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("retry", State.ENQUEUED),
        ("run now", State.ENQUEUED),
        ("run now", State.FAILED),
        ("discard", State.RUNNING),
    ],
)
def test_an_action_with_nothing_to_do_says_so_without_a_question(ask, job, rows, action, state):
    row = job(state)
    before = rows()
    response = ask(action.replace(" ", "_"), row, state=state.value)
    assert response.status_code == 302
    assert response.url.endswith(f"?state={state.value}")
    assert said(response)[-1].startswith(f"Nothing to {action}")
    assert rows() == before


def test_choosing_all_of_a_filter_includes_the_jobs_on_other_pages(ask, answer, job, monkeypatch):
    monkeypatch.setattr(confirmation, "SAMPLES", 2)
    mail = [job(queue="mail") for _ in range(7)]
    others = [job(queue="index"), job(State.SCHEDULED, queue="mail")]
    question = ask("retry", mail[-1], across=True, queue="mail")
    assert "Retry 7 failed jobs?" in question.text
    assert "queue=mail" in question.text
    assert len(hidden_fields(question)["_selected_action"]) == 1
    response = answer(question)
    assert said(response) == ["7 jobs retried."]
    assert response.url.endswith("?queue=mail")
    assert {row.state for row in DelayedJob.objects.filter(pk__in=[row.pk for row in mail])} == {
        State.ENQUEUED
    }
    for row in others:
        before = row.state
        row.refresh_from_db()
        assert row.state == before


def groups(question):
    """For each state on the confirmation page: its name, the number of jobs, and the number of examples."""
    parts = question.text.split('<ul class="delayed-states">')[1].split("</form>")[0]
    found = re.findall(
        r'<li><span class="delayed-state [\w-]+">(\w+)</span> <strong>(\d+)</strong>(.*?)</ul>', parts, re.S
    )
    return {state: (int(number), samples.count("<li>")) for state, number, samples in found}


def test_choosing_all_without_a_filter_means_every_job_and_the_question_says_so(ask, answer, job):
    jobs = [job() for _ in range(3)] + [job(State.RUNNING)]
    question = ask("discard", jobs[0], across=True)
    assert "No filter is set: this is about every job in the table" in question.text
    answer(question)
    assert list(DelayedJob.objects.all()) == [jobs[-1]]


@pytest.mark.parametrize(
    "query", [{"queue": "default"}, {"q": "Post"}, {"created_at__range__gte_0": "2000-01-01"}]
)
def test_with_a_filter_the_question_names_it(ask, job, query):
    question = ask("discard", job(), across=True, **query)
    assert "No filter is set" not in question.text
    [(name, value)] = query.items()
    assert f"Chosen by the filter {name}={value}, up to this moment" in question.text


def test_the_question_counts_each_state_and_shows_some_of_each(ask, job):
    numbers = {State.SCHEDULED: 7, State.ENQUEUED: 1, State.RETRYING: 6, State.FAILED: 30, State.FINISHED: 2}
    rows = [job(state) for state, number in numbers.items() for _ in range(number)]
    job(State.RUNNING)
    question = ask("discard", rows[-1], across=True)
    assert groups(question) == {
        state.value: (number, min(number, confirmation.SAMPLES)) for state, number in numbers.items()
    }
    assert "Discard 46 jobs?" in question.text


def test_the_states_of_chosen_jobs_are_counted_too(ask, job):
    question = ask("discard", job(), job(State.SCHEDULED), job(State.SCHEDULED), job(State.RUNNING))
    assert groups(question) == {"scheduled": (2, 2), "failed": (1, 1)}
    assert "No filter is set" not in question.text


def test_the_question_shows_a_few_waiting_jobs_among_many_failed_ones(ask, job):
    waiting = [job(State.ENQUEUED, name="PayInvoice") for _ in range(2)]
    failed = [job() for _ in range(20)]
    question = ask("discard", failed[-1], across=True)
    assert groups(question) == {"enqueued": (2, 2), "failed": (20, 5)}
    assert all(str(row) in question.text for row in waiting)


def test_a_job_that_joins_the_filter_after_the_question_is_left_alone(ask, answer, job):
    job(queue="mail")
    question = ask("discard", job(queue="mail"), across=True, queue="mail")
    later = timezone.now() + timedelta(minutes=1)
    created, failed, finished = (
        job(State.ENQUEUED, queue="mail", created_at=later),
        job(State.FAILED, queue="mail", failed_at=later),
        job(State.FINISHED, queue="mail", finished_at=later),
    )
    assert said(answer(question))[-1] == "2 jobs discarded."
    assert set(DelayedJob.objects.all()) == {created, failed, finished}


def test_more_jobs_than_the_limit_take_several_operations(ask, answer, job, monkeypatch):
    monkeypatch.setattr(paginator, "MOST_COUNTED", 4)
    monkeypatch.setattr(confirmation, "MOST_ROWS", 4)
    monkeypatch.setattr(states, "ROWS_A_TRANSACTION", 2)
    jobs = [job() for _ in range(6)]
    question = ask("retry", jobs[0], across=True)
    assert "Retry 4 failed jobs?" in question.text
    assert "More than 4 were found" in question.text
    assert said(answer(question))[-1] == "4 jobs retried."
    question = ask("retry", jobs[0], across=True)
    assert "More than" not in question.text
    assert said(answer(question))[-1] == "2 jobs retried."


@pytest.mark.parametrize(
    "moment",
    ["", "soon", "2026-13-45T00:00+00:00", "2026-03-10T00:00:00", "0001-01-01T00:00:00+14:00"],
)
def test_an_answer_without_a_valid_moment_is_asked_again(ask, operator, job, rows, moment):
    question = ask("discard", job(), across=True)
    before = rows()
    response = operator.post(
        question.wsgi_request.get_full_path(), hidden_fields(question) | {"as_of": moment}
    )
    assert "Discard 1 job?" in response.text
    assert rows() == before


@pytest.mark.parametrize("expected", ["", "-1", "many", "9" * 30])
def test_a_wrong_number_in_an_answer_does_no_harm(ask, operator, job, expected):
    question = ask("retry", job(), across=True)
    operator.post(question.wsgi_request.get_full_path(), hidden_fields(question) | {"expected": expected})
    assert DelayedJob.objects.enqueued().count() == 1


@pytest.mark.parametrize("action", ["retry", "discard"])
def test_the_buttons_of_the_page_ask_too(operator, page, job, rows, action):
    row = job()
    before = rows()
    question = operator.get(page(row.pk, of=action))
    assert f"{action.capitalize()} 1 " in question.text
    assert operator.get(page(row.pk, of=action, confirmed="yes")).status_code == 200
    assert operator.head(page(row.pk, of=action, confirmed="yes")).status_code == 200
    assert rows() == before


def test_retry_on_the_page_leads_back_to_it(operator, page, answer, job):
    row = job()
    response = answer(operator.get(page(row.pk, of="retry", _changelist_filters="state=failed")))
    assert response.url == page(row.pk, of="change", _changelist_filters="state=failed")
    assert said(response) == ["1 job retried."]
    row.refresh_from_db()
    assert row.state == State.ENQUEUED


def test_discard_on_the_page_leads_back_to_the_same_list(operator, page, answer, job):
    row = job()
    response = answer(operator.get(page(row.pk, of="discard", _changelist_filters="state=failed&p=2")))
    assert response.url == page() + "?state=failed&p=2"
    assert not DelayedJob.objects.exists()


def test_a_running_job_is_not_discarded_on_its_page(operator, page, job):
    row = job(State.RUNNING)
    response = operator.post(page(row.pk, of="discard"), {"confirmed": "yes"})
    assert response.url == page(row.pk, of="change")
    assert said(response)[-1].startswith("0 discarded, 1 skipped:")
    assert DelayedJob.objects.exists()


@pytest.mark.parametrize("action", ["retry", "discard"])
@pytest.mark.parametrize("key", ["404", "nonsense", "_3A"])
def test_the_buttons_for_a_job_that_is_gone_lead_to_the_list(operator, page, action, key):
    response = operator.post(page(key, of=action), {"confirmed": "yes"})
    assert response.url == page()
    assert "is gone" in said(response)[0]


def test_running_jobs_are_asked_to_end_and_the_log_names_the_operator(ask, answer, job, worker):
    running, waiting = job(State.RUNNING, lock_token=5), job(State.ENQUEUED)
    question = ask("cancel", running, waiting)
    assert "End 1 running job?" in question.text
    response = answer(question)
    assert said(response)[-1] == "1 asked to end, 1 skipped: ended meanwhile, or asked before."
    request = WorkerRequest.objects.get()
    assert (request.worker, request.verb, request.delayed_job_id, request.lock_token) == (
        *("w" * 32, "cancel"),
        *(running.pk, 5),
    )
    entry = LogEntry.objects.get()
    assert (entry.action_flag, entry.user.username) == (CHANGE, request.requested_by)
    assert entry.change_message == f"cancel: 1 of 1: {running.pk}"


def test_a_second_answer_sends_no_second_request(ask, answer, job, worker):
    question = ask("cancel", job(State.RUNNING))
    answer(question)
    assert said(answer(question))[-1].startswith("0 asked to end, 1 skipped:")
    assert WorkerRequest.objects.count() == 1


def test_the_page_of_a_running_job_asks_it_to_end_and_names_who_asked(operator, page, job, worker):
    row = job(State.RUNNING)
    assert f"/{row.pk}/cancel/" in operator.get(page(row.pk, of="change")).text
    response = operator.post(page(row.pk, of="cancel"), {"confirmed": "yes"})
    assert (response.url, said(response)) == (page(row.pk, of="change"), ["1 job was asked to end."])
    text = operator.get(response.url).text
    by = WorkerRequest.objects.get().requested_by
    assert re.search(rf"It is being performed; {by} asked it to end at .*:\d\d:\d\d \w+\.", text)
    assert "Look again" in text
    assert f"/{row.pk}/cancel/" not in text
    again = operator.get(page(row.pk, of="cancel"))
    nothing = "Nothing to end: only a running job can be ended, and it is asked only once."
    assert said(again)[-1] == nothing


def test_a_job_that_has_ended_meanwhile_is_not_asked(operator, page, job, worker):
    row = job(State.RUNNING)
    DelayedJob.objects.update(failed_at=timezone.now(), locked_at=None)
    response = operator.post(page(row.pk, of="cancel"), {"confirmed": "yes"})
    assert said(response) == ["0 asked to end, 1 skipped: ended meanwhile, or asked before."]
    assert not WorkerRequest.objects.exists()


@pytest.mark.parametrize("query", [{"state": "failed"}, {}, {"cause": CANCELLED}])
def test_retrying_all_leaves_out_jobs_that_an_operator_has_ended_unless_the_filter_names_them(
    ask, answer, job, query
):
    ended, failed = job(error_fingerprint=CANCELLED), job()
    answer(ask("retry", ended, across=True, **query))
    assert DelayedJob.objects.enqueued().get() == (ended if "cause" in query else failed)


def test_a_job_that_an_operator_has_ended_is_retried_when_it_is_chosen(ask, answer, job):
    ended = job(error_fingerprint=CANCELLED)
    answer(ask("retry", ended))
    assert DelayedJob.objects.enqueued().get() == ended


def test_each_operation_is_one_entry_in_the_log(ask, answer, job):
    jobs = [job(queue="mail") for _ in range(3)]
    answer(ask("retry", jobs[0], across=True, queue="mail"))
    entry = LogEntry.objects.get()
    assert entry.action_flag == CHANGE
    assert "retry: 3 of 3 where queue=mail" in entry.change_message
    assert all(str(row.pk) in entry.change_message for row in jobs)
    assert entry.user.username.startswith("view_delayedjob")
    assert str(entry)


def test_an_operation_that_fails_midway_leaves_an_entry_that_says_so(ask, answer, job, monkeypatch):
    monkeypatch.setattr(states, "ROWS_A_TRANSACTION", 2)
    retry, done = DelayedJobQuerySet.retry, []

    def cut_off(rows, *_):
        if done:
            raise OperationalError("the connection was cut")
        done.append(retry(rows))
        return done[-1]

    monkeypatch.setattr(DelayedJobQuerySet, "retry", cut_off)
    question = ask("retry", *[job() for _ in range(5)])
    with pytest.raises(OperationalError):
        answer(question)
    assert DelayedJob.objects.enqueued().count() == 2
    entry = LogEntry.objects.get()
    assert "retry: not completed: " in entry.change_message
    assert entry.object_repr == "Retry 5 jobs"


def test_the_history_of_a_job_shows_its_retry(operator, page, answer, job):
    row = job()
    answer(operator.get(page(row.pk, of="retry")))
    assert "retry: 1 of 1" in operator.get(page(row.pk, of="history")).text


def test_a_discarded_job_leaves_its_name_in_the_log(operator, page, answer, job):
    row = job()
    answer(operator.get(page(row.pk, of="discard")))
    entry = LogEntry.objects.get()
    assert (entry.action_flag, entry.object_repr) == (DELETION, f"Post.send_to_twitter #{row.pk}")
    assert operator.get("/admin/").status_code == 200


def test_markup_in_the_texts_of_a_job_is_escaped_in_the_question(ask, job):
    evil = '"><script>alert(1)</script>'
    row = job(name=evil, error_class=evil, error_message=evil)
    text = ask("discard", row, across=True, q=evil).text
    assert "<script>alert" not in text


def test_a_question_takes_few_queries_for_many_jobs(ask, job, django_assert_max_num_queries):
    jobs = [job() for _ in range(30)]
    with django_assert_max_num_queries(18):
        ask("retry", *jobs)


@pytest.fixture
def spread_over(operator):
    """Confirm on a confirmation page, with a spread of this many minutes."""
    return lambda question, minutes: operator.post(
        question.wsgi_request.get_full_path(), hidden_fields(question) | {"spread": minutes}
    )


def run_ats():
    return list(DelayedJob.objects.order_by("pk").values_list("run_at", flat=True))


def test_retried_jobs_can_be_spread_over_minutes(ask, spread_over, job):
    question = ask("retry", *[job() for _ in range(4)])
    assert 'name="spread"' in question.text
    response = spread_over(question, "60")
    assert said(response) == ["4 jobs retried."]
    first, *others = run_ats()
    quarters = [round((moment - first) / timedelta(minutes=15)) for moment in others]
    assert quarters == [1, 2, 3]
    assert DelayedJob.objects.scheduled().count() == 3
    assert "retry: 4 of 4, spread over 3600 s: " in LogEntry.objects.get().change_message


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("minutes", ["-1", "1e3", "ten", "10081", "9" * 5000, "\0"])
def test_an_invalid_spread_is_refused_and_asked_again(ask, spread_over, job, rows, across, minutes):
    question = ask("retry", *[job() for _ in range(2)], across=across)
    before = rows()
    again = spread_over(question, minutes)
    assert again.status_code == 200
    assert 'class="errorlist"' in again.text
    assert rows() == before
    assert not LogEntry.objects.exists()
    spread_over(again, "10")
    assert DelayedJob.objects.failed().count() == 0


@pytest.mark.parametrize("minutes", ["0", ""])
def test_without_a_spread_all_are_due_at_once(ask, spread_over, job, minutes):
    spread_over(ask("retry", *[job() for _ in range(3)]), minutes)
    assert DelayedJob.objects.enqueued().count() == 3
    assert "spread" not in LogEntry.objects.get().change_message


def test_only_several_retried_jobs_are_spread(ask, spread_over, job):
    assert 'name="spread"' not in ask("retry", job()).text
    question = ask("discard", *[job() for _ in range(2)])
    assert 'name="spread"' not in question.text
    # A forged field changes nothing.
    assert said(spread_over(question, "-1"))[-1] == "2 jobs discarded."
