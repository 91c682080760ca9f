from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.utils import timezone
from django.utils.safestring import SafeString
from django_delayed.models import DelayedJob
from django_delayed.serialization.arguments import decode, encode, from_json, to_json
from freezegun import freeze_time
from tests.blog.jobs import Plain
from tests.blog.work import perform_next


class Text(str):
    def shout(self):
        return self.upper()


PARIS = {"tzinfo": ZoneInfo("Europe/Paris"), "fold": 1}
BEHAVIOUR = {
    "str": (Text, str, ["ü"], {}),
    "SafeString": (type("Html", (SafeString,), {}), SafeString, ["<b>"], {}),
    "int": (type("Int", (int,), {}), int, [-(2**1030)], {}),
    "float": (type("float64", (float,), {}), float, [-0.0], {}),
    "bytes": (type("Blob", (bytes,), {}), bytes, [b"\xff"], {}),
    "date": (type("Day", (date,), {"is_free": True}), date, [2026, 1, 1], {}),
    "datetime": (type("Now", (datetime,), {}), datetime, [2026, 10, 25, 2, 30], PARIS),
    "time": (type("Clock", (time,), {}), time, [1, 2, 3], {"tzinfo": UTC}),
    "timedelta": (type("Span", (timedelta,), {}), timedelta, [1, 2, 3], {}),
    "Decimal": (type("Euro", (Decimal,), {}), Decimal, ["1.50"], {}),
    "UUID": (type("Id", (UUID,), {}), UUID, [], {"int": 7}),
    "path": (type("Folder", (type(Path()),), {}), Path, ["a/b"], {}),
    "a class between": (type("Loud", (Text,), {"__slots__": ()}), str, ["ü"], {}),
}


@pytest.mark.parametrize(("extended", "base", "args", "kwargs"), BEHAVIOUR.values(), ids=BEHAVIOUR)
def test_a_value_whose_class_adds_only_behaviour_travels_as_the_type_that_it_extends(
    extended, base, args, kwargs
):
    value, plain = extended(*args, **kwargs), base(*args, **kwargs)
    [back] = decode(from_json(to_json(encode([value]))))
    assert (type(back), repr(back)) == (type(plain), repr(plain))
    assert encode([value]) == encode([plain])


def todays():
    now, local = timezone.now(), timezone.localtime()
    return [now, local, datetime.now(), timezone.localdate(), date.today(), now.date(), now.time()]


@pytest.mark.parametrize("freeze", [freeze_time, time_machine.travel], ids=["freezegun", "time-machine"])
@pytest.mark.django_db
def test_the_dates_of_a_frozen_time_are_arguments_like_others(freeze, diary):
    with freeze(datetime(2026, 11, 21, 9, 30, tzinfo=UTC)):
        given = todays()
        Plain.perform_later(*given, key={"due": [given]})
    perform_next()
    [(_, args, kwargs)] = diary
    assert list(args) == kwargs["key"]["due"][0] == given
    assert args[0].replace(microsecond=0) == datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    assert {type(value) for value in args} == {date, datetime, time}


@pytest.mark.parametrize("freeze", [freeze_time, time_machine.travel], ids=["freezegun", "time-machine"])
@pytest.mark.django_db
def test_the_dates_of_a_frozen_time_say_when_a_job_runs(freeze):
    with freeze(datetime(2026, 11, 21, 9, 30, tzinfo=UTC)):
        row = Plain.set(wait_until=timezone.now() + timedelta(days=1)).perform_later()
    row = DelayedJob.objects.get(pk=row.pk)
    assert row.run_at.replace(second=0, microsecond=0) == datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
