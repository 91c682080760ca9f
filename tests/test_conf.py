"""Every setting: what it accepts, what it refuses, and when a change is seen."""

import re
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.views.debug import SafeExceptionReporterFilter
from django_delayed import every
from django_delayed.conf import FIELDS, duration, problems
from django_delayed.conf import settings as delayed

HOUR = timedelta(hours=1)
RECURS = {"job": "shop.jobs:CleanUp", "schedule": every(5)}


def test_the_defaults_are_as_documented():
    with override_settings(DJANGO_DELAYED={}, DEBUG=False):
        assert {name: getattr(delayed, name) for name in FIELDS} == {
            "MAX_ATTEMPTS": 25,
            "MAX_RUN_TIME": 4 * HOUR,
            "SLEEP_DELAY": timedelta(seconds=5),
            "READ_AHEAD": 500,
            "DEFAULT_QUEUE": "default",
            "DEFAULT_PRIORITY": 0,
            "QUEUE_ATTRIBUTES": {},
            "DESTROY_FAILED_JOBS": False,
            "KEEP_FINISHED_FOR": None,
            "RESULT_TTL": timedelta(days=1),
            "KEEP_FAILED_FOR": None,
            "DELAY_JOBS": True,
            "ENQUEUE": None,
            "DATABASE": "default",
            "CONTEXT": {},
            "TRUSTED_MODULES": (),
            "ALIASES": {},
            "RECURRING": {},
            "UNKNOWN_GRACE": timedelta(minutes=10),
            "MAX_ARGUMENTS_SIZE": 1024**2,
            "MAX_MAIL_SIZE": 25 * 1024**2,
            "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "MAIL_QUEUE": None,
            "SHUTDOWN_TIMEOUT": timedelta(seconds=25),
            "LEASE": timedelta(seconds=60),
            "METRICS_TOKEN": None,
            "RELOAD": False,
        }


def test_without_the_setting_the_defaults_hold(settings):
    if hasattr(settings, "DJANGO_DELAYED"):
        del settings.DJANGO_DELAYED
    assert delayed.MAX_ATTEMPTS == 25
    assert list(problems()) == []


def test_each_value_has_the_type_of_its_setting(settings):
    settings.DJANGO_DELAYED = {
        "MAX_ATTEMPTS": 3,
        "MAX_RUN_TIME": 90,
        "SLEEP_DELAY": 0,
        "LEASE": 1.5,
        "KEEP_FINISHED_FOR": HOUR,
        "KEEP_FAILED_FOR": 90,
        "QUEUE_ATTRIBUTES": {"mail": {"priority": -10, "max_attempts": 2, "max_run_time": 60}, "other": {}},
        "TRUSTED_MODULES": ["shop.extra"],
        "DELAY_JOBS": bool,
        "DEFAULT_PRIORITY": -5,
    }
    assert delayed.MAX_ATTEMPTS == 3
    assert timedelta(seconds=90) == delayed.MAX_RUN_TIME
    assert timedelta(0) == delayed.SLEEP_DELAY
    assert timedelta(seconds=1.5) == delayed.LEASE
    assert delayed.KEEP_FINISHED_FOR == HOUR
    assert timedelta(seconds=90) == delayed.KEEP_FAILED_FOR
    assert {
        "mail": {"priority": -10, "max_attempts": 2, "max_run_time": timedelta(minutes=1)},
        "other": {},
    } == delayed.QUEUE_ATTRIBUTES
    assert delayed.TRUSTED_MODULES == ("shop.extra",)
    assert delayed.DELAY_JOBS is bool
    assert delayed.DEFAULT_PRIORITY == -5


OPTIONAL = ["KEEP_FINISHED_FOR", "KEEP_FAILED_FOR"]
DURATIONS = [
    *OPTIONAL,
    *("MAX_RUN_TIME", "SLEEP_DELAY", "RESULT_TTL", "SHUTDOWN_TIMEOUT", "UNKNOWN_GRACE", "LEASE"),
]
COUNTS = ["MAX_ATTEMPTS", "READ_AHEAD", "MAX_ARGUMENTS_SIZE", "MAX_MAIL_SIZE"]
TEXTS = ["DEFAULT_QUEUE", "DATABASE", "EMAIL_BACKEND"]
WRONG = [
    *(
        (name, value)
        for name in DURATIONS
        for value in (-1, -HOUR, "5", True, [], float("nan"), float("inf"))
    ),
    *((name, None) for name in DURATIONS if name not in OPTIONAL),
    *((name, value) for name in COUNTS for value in (0, -1, 1.5, "5", True, None)),
    *((name, value) for name in TEXTS for value in ("", None, 5, b"x", ["x"])),
    *((name, 0) for name in ("MAX_RUN_TIME", "RESULT_TTL", "LEASE")),
    *(("DEFAULT_PRIORITY", value) for value in (1.5, "5", True, None)),
    *((name, value) for name in ("DESTROY_FAILED_JOBS", "RELOAD") for value in (1, "yes", [])),
    *((name, 2**31) for name in (*COUNTS, "DEFAULT_PRIORITY")),
    *((name, timedelta(days=40_000)) for name in DURATIONS),
    *(
        (name, value)
        for name in ("DEFAULT_QUEUE", "MAIL_QUEUE")
        for value in ("q" * 256, "a\nb", "\0", "a,b", "mail_*", "!mail", 7)
    ),
    *(
        ("METRICS_TOKEN", value)
        for value in ("", "short", "x" * 15, "ü" * 16, "a b" * 9, "x" * 16 + "\n", 5, b"x" * 16)
    ),
    *(("DELAY_JOBS", value) for value in (1, "yes", None)),
    *(("ENQUEUE", value) for value in ("commit", False, True, ["transaction"])),
    *(("CONTEXT", value) for value in ([], None, "shop.context", {"tenant": None}, {5: "a.b"}, {"": "a.b"})),
    *(("TRUSTED_MODULES", value) for value in ("shop.extra", 5, None, [5], [None])),
    *(
        ("ALIASES", value)
        for value in (
            [],
            None,
            "shop.jobs:Old",
            {"shop.jobs:Old": 5},
            {5: "shop.work:New"},
            {"shop.jobs.Old": "shop.work:New"},
            {"shop.jobs:Old": "shop.work"},
            {"shop.jobs:Old": "shop.jobs:Old"},
            {"shop.jobs:A": "shop.jobs:B", "shop.jobs:B": "shop.jobs:A"},
            {"shop.jobs:A": "shop.jobs:B", "shop.jobs:B": "shop.jobs:C", "shop.jobs:C": "shop.jobs:B"},
        )
    ),
    *(
        ("RECURRING", value)
        for value in (
            [],
            None,
            "shop.jobs:CleanUp",
            {5: RECURS},
            {"": RECURS},
            {" a": RECURS},
            {"a\n": RECURS},
            {"a" * 256: RECURS},
            {"a": "shop.jobs:CleanUp"},
            {"a": {"job": "shop.jobs:CleanUp"}},
            {"a": {"schedule": every(5)}},
            {"a": RECURS | {"colour": 1}},
            {"a": RECURS | {"run_at": None}},
            {"a": RECURS | {"job": "shop.jobs.CleanUp"}},
            {"a": RECURS | {"job": print}},
            {"a": RECURS | {"catch_up": "some"}},
            {"a": RECURS | {"catch_up": ["all"]}},
            {"a": RECURS | {"args": "text"}},
            {"a": RECURS | {"kwargs": []}},
            {"a": RECURS | {"kwargs": {5: 1}}},
        )
    ),
    *(
        ("QUEUE_ATTRIBUTES", value)
        for value in (
            [],
            None,
            "mail",
            {"mail": 5},
            {"mail": {"priority": "5"}},
            {"mail": {"priority": None}},
            {"mail": {"urgency": 1}},
            {"mail": {"max_attempts": 0}},
            {"mail": {"max_run_time": "1h"}},
            {"mail": {"max_run_time": 0}},
            {5: {"priority": 1}},
            {"mail_*": {"priority": 1}},
            {"mail, index": {"priority": 1}},
            {" mail": {"priority": 1}},
        )
    ),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused_by_name(settings, name, value):
    settings.DJANGO_DELAYED = {name: value}
    [sentence] = problems()
    assert sentence.startswith("DJANGO_DELAYED: ")
    assert name in sentence
    with pytest.raises(ImproperlyConfigured, match=re.escape(sentence)):
        assert delayed.MAX_ATTEMPTS


def test_every_setting_is_tried_with_a_wrong_value():
    assert {name for name, _ in WRONG} == set(FIELDS)


def test_an_unknown_setting_is_refused_and_the_error_names_the_known_ones(settings):
    settings.DJANGO_DELAYED = {"MAX_ATEMPTS": 3, "LEASE": "x", "READ_AHEAD": 5}
    assert [sentence.split()[1] for sentence in problems()] == ["'MAX_ATEMPTS'", "LEASE"]
    with pytest.raises(
        ImproperlyConfigured,
        match=r"'MAX_ATEMPTS' is not a setting\. The settings are MAX_ATTEMPTS, MAX_RUN_TIME",
    ):
        assert delayed.READ_AHEAD


@pytest.mark.parametrize("value", [None, [], "MAX_ATTEMPTS", 5])
def test_the_setting_is_a_dict(settings, value):
    settings.DJANGO_DELAYED = value
    with pytest.raises(ImproperlyConfigured, match="DJANGO_DELAYED must be a dict"):
        assert delayed.READ_AHEAD


def test_a_change_is_seen_at_the_next_look():
    assert delayed.READ_AHEAD == 500
    with override_settings(DJANGO_DELAYED={"READ_AHEAD": 7}):
        assert delayed.READ_AHEAD == 7
    assert delayed.READ_AHEAD == 500


@pytest.mark.parametrize("debug", [True, False])
def test_reload_is_as_debug_says_unless_it_is_set(debug):
    with override_settings(DEBUG=debug):
        assert delayed.RELOAD is debug
        with override_settings(DJANGO_DELAYED={"RELOAD": not debug}):
            assert delayed.RELOAD is not debug


def test_reading_an_unknown_setting_is_an_attribute_error():
    with pytest.raises(AttributeError, match="MAX_ATEMPTS"):
        assert delayed.MAX_ATEMPTS


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, timedelta(0)), (1.5, timedelta(seconds=1.5)), (HOUR, HOUR), (timedelta(0), timedelta(0))],
)
def test_a_duration_is_a_timedelta_or_seconds(value, expected):
    assert duration(value, "wait") == expected


@pytest.mark.parametrize("value", [-1, -HOUR, float("nan"), float("inf"), 10**18])
def test_a_duration_out_of_range_is_a_value_error(value):
    with pytest.raises(ValueError, match="wait"):
        duration(value, "wait")


@pytest.mark.parametrize("value", ["5", None, True, []])
def test_anything_else_is_not_a_duration(value):
    with pytest.raises(TypeError, match="wait must be a timedelta or a number of seconds"):
        duration(value, "wait")


@pytest.mark.parametrize(
    "value", ["a-secret", "a secret that is long enough", b"a-secret-of-16-bytes", ["a-secret"]]
)
def test_an_error_about_a_token_does_not_show_the_token(value):
    with override_settings(DJANGO_DELAYED={"METRICS_TOKEN": value}):
        [sentence] = problems()
    assert "METRICS_TOKEN" in sentence
    assert "a-secret" not in sentence
    assert "a secret" not in sentence


def test_djangos_page_of_an_error_hides_the_token():
    with override_settings(DJANGO_DELAYED={"METRICS_TOKEN": "a-secret-of-16-characters"}):
        shown = SafeExceptionReporterFilter().get_safe_settings()["DJANGO_DELAYED"]
    assert shown == {"METRICS_TOKEN": SafeExceptionReporterFilter.cleansed_substitute}
