import json
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.core.mail import EmailMessage
from django.utils.safestring import SafeString
from django.views.debug import SafeExceptionReporterFilter, get_default_exception_reporter_filter
from django_delayed.admin import payloads
from django_delayed.admin.payloads import LONGEST_CALL, LONGEST_VALUE, call_in, indented, without_secrets
from django_delayed.mail.messages import dump
from django_delayed.serialization import arguments
from django_delayed.serialization.arguments import encode, encode_call, to_json

from shop.models import Comment


class OwnFilter(SafeExceptionReporterFilter):
    cleansed_substitute = "(hidden)"
    hidden_settings = re.compile("iban")


POST = {"@type": "record", "model": "shop.post", "pk": 9, "db": "default"}


def payload(*args, **columns):
    return to_json({"job": "shop.jobs:ImportFeed", "args": list(args), "kwargs": {}} | columns)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({}, "ImportFeed()"),
        ({"args": [POST], "kwargs": {"dry_run": True}}, "ImportFeed(shop.post 9, dry_run=True)"),
        (
            {"target": POST, "method": "publish", "args": [3], "kwargs": {"y": "z"}},
            "publish(3, y='z') on shop.post 9",
        ),
        ({"target": {"@type": "model", "value": "shop.post"}, "method": "rebuild"}, "rebuild() on shop.post"),
        (
            {"class": "shop.search:Index", "method": "rebuild", "args": [POST]},
            "Index.rebuild(shop.post 9)",
        ),
        (
            {"job": "mailer", "mailer": "shop.mailers:UserMailer", "method": "welcome", "args": [POST]},
            "UserMailer.welcome(shop.post 9)",
        ),
        ({"job": "task", "task": "shop.tasks:check", "args": [{"a": 1}]}, "check({'a': 1})"),
        ({"function": "shop.pictures:resize", "kwargs": {"width": 200}}, "resize(width=200)"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_a_call_is_shown_as_people_would_write_it(columns, words):
    assert call_in(payload(**columns)) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "None"),
        (-1.5, "-1.5"),
        ("it's", '"it\'s"'),
        ([1, [2]], "[1, [2]]"),
        ((1,), "(1,)"),
        ((1, 2), "(1, 2)"),
        ({3}, "set(3)"),
        (frozenset(), "frozenset()"),
        ({"a": (1, 2)}, "{'a': (1, 2)}"),
        ({"@type": 1}, "{'@type': 1}"),
        (b"abc", "bytes('YWJj')"),
        (2**1024, hex(2**1024)[:LONGEST_VALUE] + "…"),
        (date(2026, 3, 10), "2026-03-10"),
        (time(10, 30), "10:30:00"),
        (datetime(2026, 3, 10, 12, tzinfo=ZoneInfo("Europe/Paris")), "2026-03-10T12:00:00 Europe/Paris"),
        (datetime(2026, 3, 10, 12, tzinfo=UTC), "2026-03-10T12:00:00 UTC+0"),
        (timedelta(days=1, minutes=5), "1 day, 0:05:00"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("a/b"), "'a/b'"),
        (SafeString("<b>"), "'<b>'"),
        (Comment.State.SPAM, "Comment.State.SPAM"),
    ],
    ids=repr,
)
def test_each_type_of_argument_is_shown_readably(value, words):
    assert call_in(payload(encode(value))) == f"ImportFeed({words})"


def test_every_type_of_argument_has_a_readable_form():
    own = {name for name in arguments._load if "." not in name}
    assert own <= set(payloads._WRITE)


def test_a_type_of_the_project_shows_what_it_stores():
    value = {"@type": "shop.Money", "value": [5, "EUR"]}
    assert call_in(payload(value)) == "ImportFeed(shop.Money(value=[5, 'EUR']))"


def test_a_record_with_a_custom_key_is_shown_as_its_field_stores_the_key():
    record = {"@type": "record", "model": "shop.ticket", "db": "default"}
    payload = {
        "job": "a:B",
        "args": [{**record, "key": ["T-7"]}, {**record, "key": ["T-7", "3"]}],
        "kwargs": {},
    }
    assert call_in(json.dumps(payload)) == "B(shop.ticket T-7, shop.ticket T-7 3)"


def test_a_record_of_another_database_names_the_database():
    assert call_in(payload(POST | {"db": "archive"})) == "ImportFeed(shop.post 9 in archive)"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "7",
        "[]",
        "{}",
        '{"job": 7, "args": [], "kwargs": {}}',
        '{"job": "a:B", "args": 5, "kwargs": {}}',
        '{"job": "a:B", "args": [], "kwargs": []}',
        '{"job": "a:B", "args": "text", "kwargs": {}}',
        '{"job": "a:B", "args": [{"@type": "record"}], "kwargs": {}}',
        '{"job": "a:B", "args": [{"@type": []}], "kwargs": {}}',
        '{"job": "a:B", "args": [{"@type": "timedelta", "value": [1e300]}], "kwargs": {}}',
        '{"job": "a:B", "args": ' + "[" * 5000 + "]" * 5000 + ', "kwargs": {}}',
        '{"job": "a:B", "args": ' + "[" * 100_000 + "]" * 100_000 + ', "kwargs": {}}',
        '{"job": "a:B", "args": [' + "9" * 5000 + '], "kwargs": {}}',
    ],
    ids=lambda text: f"{len(text)} {text[:50]}",
)
def test_an_invalid_payload_is_shown_without_a_call(text):
    assert call_in(text) is None
    assert isinstance(indented(text), str)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"password": "s3cret"},
        {"API_KEY": {"value": "s3cret"}},
        {"user": {"name": "ada", "login": [{"authToken": "s3cret"}]}},
        {"headers": [("a", {"Authorization": "s3cret"})]},
        {"odd": {"@type": 5, "secret": "s3cret"}},
        {"odd": {"@type": 5, "deep": {"@type": 6, "signature": ["s3cret"]}}},
        {"cookies": {"sessionid": "s3cret"}},
        {"token": date(2026, 3, 10), "note": ({"pass": "s3cret"},)},
    ],
    ids=str,
)
def test_values_with_secret_names_are_masked_at_any_depth(kwargs):
    text = to_json({"job": "a:B", **encode_call(["shown"], {"number": 7, **kwargs})})
    assert "s3cret" in text
    for shown in (call_in(text), indented(text)):
        assert "s3cret" not in shown
        assert "********************" in shown
        assert "shown" in shown
        assert "7" in shown


CONTAINERS = {
    "dict": lambda inner: {"a": inner},
    "dict with keys of ours": lambda inner: {"@type": inner},
    "list": lambda inner: [inner],
    "tuple": lambda inner: (inner,),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_secrets_are_masked_at_the_deepest_level_that_an_argument_may_have(kind):
    deep = {"password": "s3cret"}
    for _ in range(arguments.DEEPEST - 1):
        deep = CONTAINERS[kind](deep)
    text = to_json({"job": "a:B", **encode_call([], {"deep": deep})})
    assert "s3cret" in text
    for shown in (indented(text), without_secrets(text)):
        assert "s3cret" not in shown
        assert "********************" in shown


@pytest.mark.parametrize(
    "text",
    [
        '{"args": ' + "[" * 100_000 + '{"password": "s3cret"}' + "]" * 100_000 + "}",
        '{"password": "s3cret", "number": ' + "9" * 10_000 + "}",
    ],
    ids=["deep", "long"],
)
def test_a_payload_that_cannot_be_searched_for_secrets_is_not_shown(text):
    assert indented(text) == "It has a number that is too long, or is nested too deep to be shown."
    assert without_secrets(text) == ""
    assert call_in(text) is None


@pytest.mark.parametrize("text", ['{"b":1, "a" : 2.50}', "no JSON", '{"n": 123456789012345678901234567890}'])
def test_a_payload_without_secrets_is_unchanged(text):
    assert without_secrets(text) == text


def test_a_filter_of_the_project_says_what_is_secret(settings):
    settings.DEFAULT_EXCEPTION_REPORTER_FILTER = f"{__name__}.OwnFilter"
    text = to_json({"job": "a:B", **encode_call([], {"iban": "s3cret", "password": "shown"})})
    get_default_exception_reporter_filter.cache_clear()
    try:
        assert call_in(text) == "B(iban='(hidden)', password='shown')"
    finally:
        get_default_exception_reporter_filter.cache_clear()


@pytest.mark.parametrize("kind", ["message", "call", "record"])
def test_the_keys_of_a_payload_are_not_taken_for_secrets(kind):
    text = {
        "message": to_json({"job": "mail", "message": dump(EmailMessage("a", "b")), "using": None}),
        "call": payload(
            target=POST, method="publish", owner="a:B", language="en", timezone="UTC", max_run_time=5
        ),
        "record": payload(POST),
    }[kind]
    assert json.loads(indented(text)) == json.loads(text)


def test_long_values_and_long_calls_are_cut():
    text = call_in(to_json({"job": "a:B", **encode_call(["x" * 1_000_000] * 100, {})}))
    assert len(text) == LONGEST_CALL + 1
    assert text.endswith("…")


def test_the_payload_is_indented_and_its_letters_are_not_escaped():
    assert indented(json.dumps({"a": ["é"]})) == '{\n  "a": [\n    "é"\n  ]\n}'
