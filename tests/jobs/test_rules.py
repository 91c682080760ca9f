"""Rules for single errors: which can be written, and what they say."""

from datetime import UTC, datetime, timedelta

import pytest
from django_delayed import Job, Retry
from django_delayed.jobs.rules import History, rule_for


def default(failures, error):
    return timedelta(hours=failures)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "sentence"),
    [
        ((), {}, TypeError, r"Retry\(\) takes exception classes, as in Retry\(ConnectionError\)"),
        ((ValueError("x"),), {}, TypeError, "takes exception classes"),
        (("ValueError",), {}, TypeError, "takes exception classes"),
        (((ValueError, KeyError),), {}, TypeError, "takes exception classes"),
        ((ValueError,), {"attempts": 0}, ValueError, r"attempts of Retry\(\) must be at least 1, got 0"),
        ((ValueError,), {"attempts": "3"}, TypeError, "must be a whole number"),
        ((ValueError,), {"attempts": True}, TypeError, "must be a whole number"),
        ((ValueError,), {"wait": -1}, ValueError, r"wait of Retry\(\) must not be negative"),
        ((ValueError,), {"wait": "exponentially_longer"}, ValueError, 'or "polynomially_longer", not'),
        ((ValueError,), {"wait": [1, 2]}, TypeError, r"wait of Retry\(\) must be a timedelta"),
        ((ValueError,), {"wait": lambda attempts: 5}, TypeError, r"called as wait\(attempts, error\)"),
        ((ValueError,), {"jitter": 2}, ValueError, "jitter of Retry.. must be from 0 to 1, not 2"),
        ((ValueError,), {"jitter": -0.1}, ValueError, "must be from 0 to 1"),
        ((ValueError,), {"jitter": float("nan")}, ValueError, "must be from 0 to 1"),
        ((ValueError,), {"jitter": "some"}, TypeError, "jitter of Retry.. must be a number"),
        ((ValueError,), {"jitter": True}, TypeError, "jitter of Retry.. must be a number"),
    ],
)
def test_a_rule_that_no_worker_could_follow_is_an_error(arguments, options, error, sentence):
    with pytest.raises(error, match=sentence):
        Retry(*arguments, **options)


@pytest.mark.parametrize(
    ("wait", "waits"),
    [
        (None, [timedelta(hours=1), timedelta(hours=2), timedelta(hours=3)]),
        (30, [30, 30, 30]),
        (timedelta(minutes=1), [timedelta(minutes=1)] * 3),
        ("polynomially_longer", [3, 18, 83]),
        (lambda failures, error: (failures, str(error)), [(1, "x"), (2, "x"), (3, "x")]),
        (divmod, None),
    ],
)
def test_the_wait_of_a_rule_is_a_duration_a_function_or_grows(wait, waits):
    rule = Retry(ValueError, wait=wait)
    if waits:
        assert [rule.wait_after(number, ValueError("x"), default) for number in (1, 2, 3)] == waits


def test_jitter_makes_a_wait_longer_by_its_part_at_most():
    rule = Retry(ValueError, wait=100, jitter=0.5)
    waits = [rule.wait_after(1, ValueError(), default) for _ in range(50)]
    assert min(waits) >= 100
    assert max(waits) <= 150
    assert len(set(waits)) > 1


def test_a_wait_that_grows_has_a_maximum():
    rule = Retry(ValueError, wait="polynomially_longer")
    assert rule.wait_after(10**6, ValueError(), default) == 10**10


def test_the_first_rule_that_names_the_error_counts():
    narrow, wide = rules = Retry(KeyError), Retry(IndexError, LookupError)
    assert rule_for(KeyError(), rules) is narrow
    assert rule_for(IndexError(), rules) is wide
    assert rule_for(LookupError(), rules) is wide
    assert rule_for(ValueError(), rules) is None


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (Retry(ValueError), r"must be a tuple like \(Retry\(ConnectionError, attempts=3\),\)"),
        ([Retry(ValueError)], "must be a tuple"),
        ((ValueError,), "must be a tuple"),
        (ValueError, "must be a tuple"),
    ],
)
def test_a_value_that_is_not_a_tuple_of_rules_is_an_error_at_the_definition(rules, sentence):
    with pytest.raises(TypeError, match=sentence):
        type("MyJob", (Job,), {"retry_on": rules})


@pytest.mark.parametrize(
    ("rules", "discard_on"),
    [
        ((Retry(LookupError), Retry(KeyError)), ()),
        ((Retry(ValueError), Retry(TypeError, ValueError)), ()),
        ((Retry(KeyError),), (LookupError,)),
        ((Retry(ValueError),), (ValueError,)),
    ],
)
def test_a_rule_that_is_never_asked_is_an_error_at_the_definition(rules, discard_on):
    with pytest.raises(TypeError, match=r"MyJob.retry_on: Retry\(.* is never asked about \w+, which"):
        type("MyJob", (Job,), {"retry_on": rules, "discard_on": discard_on})


def test_a_child_may_add_rules_to_those_of_its_parent():
    parent = type("Parent", (Job,), {"retry_on": (Retry(KeyError),), "discard_on": (IndexError,)})
    rules = (Retry(ValueError), *parent.retry_on, Retry(LookupError))
    assert type("Child", (parent,), {"retry_on": rules}).retry_on == rules


def test_a_history_counts_each_rule_by_itself():
    first, second = Retry(KeyError), Retry(ValueError, TypeError)
    began = datetime(2026, 1, 1, tzinfo=UTC)
    history = History()
    for attempt, rule in enumerate([first, second, None, first]):
        history = history.with_failure(rule, began + timedelta(minutes=attempt))
        history = History.from_json(history.to_json())
    assert [history.failures(rule, 4) for rule in (first, second, None)] == [2, 1, 1]
    assert history.age(began + timedelta(minutes=10)) == timedelta(minutes=10)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "[]", "[5, 3]", "{}", '[{"a": "b"}, null]', '[{}, "soon"]', "null"),
        *('[{"a": Infinity}, null]', "[{}, 1e300]", "[{}, NaN]"),
    ],
)
def test_a_history_that_we_have_not_written_is_empty(text):
    assert History.from_json(text) == History()
    assert History().age(None) == timedelta(0)


def test_a_history_that_cannot_be_read_now_is_not_written_either():
    history = History.from_json(None).with_failure(Retry(KeyError), None)
    assert history.to_json() == ""
    assert history.failures(None, 25) == history.failures(Retry(KeyError), 25) == 0
