import functools
import json
import math
import sys
import time as time_module
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum, auto
from http import HTTPStatus
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import ModuleType
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.db import models
from django.utils.functional import lazy
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy, ngettext_lazy
from django_delayed import DeserializationError, SerializationError
from django_delayed.exceptions import UnknownType
from django_delayed.execution.outcomes import Finished, Snoozed
from django_delayed.models import DelayedJob
from django_delayed.serialization import arguments
from django_delayed.serialization.arguments import decode, encode, from_json, register_type, to_json
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.blog.jobs import Plain
from tests.blog.models import Article, Draft, Fancy, Post
from tests.blog.work import perform_next
from tests.stories.markdown import ROOT, blocks


@pytest.fixture(autouse=True)
def trusted(settings):
    settings.DJANGO_DELAYED = {"TRUSTED_MODULES": ["tests.serialization.test_arguments"]}


class Suit(Enum):
    HEARTS = "♥"
    SPADES = object()  # a value that could not travel
    COEURS = HEARTS  # an alias


class Number(IntEnum):
    ONE = 1


class Word(StrEnum):
    ONE = "one"


class Choice(models.TextChoices):
    FIRST = "1st", gettext_lazy("first")


class Right(Flag):
    READ = auto()
    WRITE = auto()


class Bits(IntFlag):
    ONE = 1


Point = namedtuple("Point", "x y")


class Other:
    pass


class Money:
    def __init__(self, amount, currency):
        self.amount, self.currency = amount, currency

    def __eq__(self, other):
        return vars(self) == vars(other)

    __hash__ = object.__hash__


def round_trip(value):
    text = to_json(encode(value))
    assert text.isascii()
    assert "\0" not in text
    return decode(from_json(text))


def _spelled(value):
    """Like repr(), whatever the order of a set is. 1 and True are equal, but are spelled differently."""
    if isinstance(value, (tuple, set, frozenset)):
        items = [_spelled(item) for item in value]
        return f"{type(value)}{items if isinstance(value, tuple) else sorted(items)}"
    return hex(value) if type(value) is int else repr(value)


def _told(at):
    return at.replace(tzinfo=None), at.fold, at.tzinfo, at.tzname(), at.utcoffset()


def same(one, other):
    """Whether both are equal, of the same type, and alike in what equality overlooks."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (set, frozenset)):
        return one == other and _spelled(one) == _spelled(other)
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    if isinstance(one, Decimal):
        return one.as_tuple() == other.as_tuple()
    if isinstance(one, (datetime, time)):
        return _told(one) == _told(other)
    return one == other


ZONES = [
    "UTC",
    "Europe/Paris",
    "America/St_Johns",
    "Asia/Tokyo",
    "Africa/Monrovia",
    "Pacific/Apia",
    "Etc/GMT+12",
]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
offsets = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone)
zones = st.none() | st.just(UTC) | offsets | st.sampled_from(ZONES).map(ZoneInfo)
hashables = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers().map(lambda number: number**41),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
    texts.map(SafeString),
    st.binary(),
    st.datetimes(timezones=zones, allow_imaginary=True),
    st.times(timezones=st.none() | offsets),
    st.dates(),
    st.timedeltas(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.uuids(),
    st.sampled_from([*Suit, *Number, *Word, *Choice, *Right, Right(0), Right.READ | Right.WRITE, Bits(9)]),
    texts.map(Path),
    st.sampled_from([Post, Fancy, Draft]),
)

frozen = st.recursive(hashables, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3))
values = st.recursive(
    frozen | st.sets(frozen, max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(texts | st.sampled_from(["@type", "value", ""]), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(values)
def test_what_travels_comes_back_exactly(value):
    assert same(round_trip(value), value)


EDGES = [
    2**100_000,
    -(2**1024),
    2**1024 - 1,
    10**400,
    -0.0,
    1e22,
    5e-324,
    1.0,
    Decimal("-0"),
    Decimal("1E+500"),
    Decimal("1.500"),
    "\u2028 \U0001f600 \x7f \x01 ￿",
    SafeString("<b>"),
    {"@type": "record", "value": {"@type": 1}},
    {"@type": {"@type": "model", "value": "blog.post"}},
    {(1, 2), (3, "4")},
    {frozenset({1}), frozenset()},
    (),
    [[], {}, set()],
    datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Paris"), fold=1),
    datetime(2026, 10, 25, 2, 30, fold=1),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23, minutes=59, seconds=59, microseconds=999999))),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET")),
    datetime(2026, 1, 1, tzinfo=timezone(timedelta(0), "Zulu")),
    time(1, 2, 3, 4, tzinfo=ZoneInfo("Asia/Tokyo"), fold=1),
    timedelta.min,
    timedelta.max,
    Suit.COEURS,
    Right(0),
    Bits(1 | 64),
    Path("/srv/ü/../x"),
    Path(),
    UUID(int=0),
    b"\0\xff",
]


@pytest.mark.parametrize("value", EDGES, ids=range(len(EDGES)))
def test_extreme_values_come_back_exactly(value):
    assert same(round_trip(value), value)


def test_the_fields_of_a_dict_stay_in_order():
    assert list(round_trip({"z": 1, "@type": 2, "a": 3})) == ["z", "@type", "a"]


def test_a_lazy_text_travels_as_the_text_that_it_is_now():
    assert same(round_trip(gettext_lazy("Post")), "Post")
    assert same(round_trip(ngettext_lazy("%d post", "%d posts", 2)), "%d posts")
    assert same(round_trip(lazy(lambda: mark_safe("<b>"), SafeString)()), SafeString("<b>"))


def test_a_shared_value_is_written_at_each_of_its_places():
    shared = [1]
    assert round_trip([shared, shared]) == [[1], [1]]


def test_what_is_nested_as_deep_as_is_allowed_travels():
    value = functools.reduce(lambda inner, _: [inner], range(arguments.DEEPEST), 1)
    assert round_trip(value) == value
    with pytest.raises(SerializationError, match="more than 100 levels deep"):
        encode([value])


class Zone(tzinfo):  # like pytz: it has its own answers, and no name to find it by
    def utcoffset(self, when):
        return timedelta(hours=1)

    def dst(self, when):
        return timedelta(0)


class SpecialZone(ZoneInfo):
    pass


class List(list):
    pass


class Text(str):
    def shout(self):
        return self.upper()


class Tagged(str):
    def __init__(self, text):
        self.tag = "b"


class Counted(float):
    __slots__ = ("unit",)  # even when it is not set


class Unequal(str):
    __hash__ = str.__hash__

    def __eq__(self, other):
        return False


class Incomparable(str):
    __hash__ = str.__hash__

    def __eq__(self, other):
        raise TypeError("not with a text")


class Stamp(datetime):
    """Like a class of pandas that stores the nanoseconds where Python does not see them."""

    __hash__ = datetime.__hash__

    def __eq__(self, other):
        return isinstance(other, Stamp)


class NoDate(date):
    def isoformat(self):
        return "NaT"


def a_cycle():
    cycle = {}
    cycle["itself"] = [cycle]
    return cycle


REFUSED = {
    "nan": (lambda: math.nan, "nan is not a finite number"),
    "infinity": (lambda: -math.inf, "-inf is not a finite number"),
    "nan inside": (lambda: [{"a": (math.nan,)}], "not a finite number"),
    "decimal nan": (lambda: Decimal("sNaN"), "not a finite number"),
    "decimal infinity": (lambda: Decimal("-Infinity"), "not a finite number"),
    "nul": (lambda: "a\0b", "NUL character"),
    "nul in safe": (lambda: SafeString("\0"), "NUL character"),
    "nul in key": (lambda: {"\0": 1}, "NUL character"),
    "nul in path": (lambda: Path("\0"), "NUL character"),
    "surrogate": (lambda: "ab\udc80", "lone surrogate at 2"),
    "surrogate in path": (lambda: Path("\udcff"), "lone surrogate"),
    "surrogate in key": (lambda: {"\ud800": 1}, "lone surrogate"),
    "nul in lazy": (lambda: lazy(lambda: "\0", str)(), "NUL character"),
    "lazy number": (lambda: lazy(lambda: 5, int)(), "cannot be serialized"),
    "key of int": (lambda: {1: 2}, "keys of a dict must be of type str, not int"),
    "key of str subclass": (lambda: {Text("a"): 2}, "keys of a dict must be of type str, not Text"),
    "subclass of list": (lambda: List(), "List cannot be serialized"),
    "subclass of dict": (lambda: OrderedDict(), "OrderedDict cannot be serialized"),
    "text with an attribute": (
        lambda: Tagged("a"),
        r"Tagged cannot be serialized; write str\(…\), or",
    ),
    "number with a slot": (
        lambda: Counted(1),
        r"Counted cannot be serialized; write float\(…\)",
    ),
    "date with a unit": (lambda: Stamp(2026, 1, 1), "Stamp cannot be serialized; .*, or register its type"),
    "text that equals none": (lambda: Unequal("a"), "Unequal cannot be serialized"),
    "text that cannot be compared": (lambda: Incomparable("a"), "Incomparable cannot be serialized"),
    "date that is none": (lambda: NoDate(2026, 1, 1), "NoDate cannot be serialized"),
    "namedtuple": (lambda: Point(1, 2), "Point cannot be serialized"),
    "bytearray": (lambda: bytearray(b"a"), "bytearray cannot be serialized"),
    "memoryview": (lambda: memoryview(b"a"), "memoryview cannot be serialized"),
    "complex": (lambda: 1j, "complex cannot be serialized"),
    "range": (lambda: range(3), "range cannot be serialized"),
    "generator": (lambda: (x for x in "ab"), "generator cannot be serialized"),
    "queryset": (lambda: Post.objects.all(), "QuerySet cannot be serialized"),
    "manager": (lambda: Post.objects, "cannot be serialized"),
    "object": (object, "builtins.object cannot be serialized.*register_type"),
    "lambda": (lambda: lambda: 1, "function cannot be serialized"),
    "function": (lambda: same, "function cannot be serialized"),
    "class": (lambda: Money, "type cannot be serialized"),
    "pure path": (lambda: PureWindowsPath("a"), "PureWindowsPath cannot be serialized"),
    "pure posix path": (lambda: PurePosixPath("a"), "PurePosixPath cannot be serialized"),
    "struct_time": (time_module.gmtime, "struct_time cannot be serialized"),
    "zone of pytz's kind": (lambda: datetime(2026, 1, 1, tzinfo=Zone()), "use zoneinfo"),
    "zone of a subclass": (lambda: datetime(2026, 1, 1, tzinfo=SpecialZone("Asia/Tokyo")), "use zoneinfo"),
    "enum of no installed app": (lambda: HTTPStatus.OK, "TRUSTED_MODULES"),
    "enum defined inside": (lambda: Enum("Local", "A", qualname="a.<locals>.Local").A, "inside a function"),
    "abstract model": (lambda: Article, "is abstract"),
    "cycle": (a_cycle, "contains itself"),
}


@pytest.mark.parametrize(("make", "sentence"), REFUSED.values(), ids=REFUSED)
def test_everything_else_is_refused(make, sentence):
    with pytest.raises(SerializationError, match=sentence):
        encode(make())


def test_the_error_names_the_argument():
    with pytest.raises(SerializationError, match=r"^argument 2: a builtins\.object cannot be serialized"):
        arguments.encode_call([1, object()], {})
    with pytest.raises(SerializationError, match=r"argument 'post': a builtins\.object cannot be serialized"):
        arguments.encode_call([], {"post": object()})
    with pytest.raises(SerializationError, match="the name of an argument: the text has a lone surrogate"):
        arguments.encode_call([], {"\ud800": 1})


def test_a_keyword_may_have_any_name():
    kwargs = {"@type": 1, "self": 2, "args": [3], "ünï": 4}
    payload = from_json(to_json(arguments.encode_call([], kwargs)))
    assert arguments.decode_call(payload) == ([], kwargs)


# Types of the project's own


@pytest.fixture
def money(monkeypatch):
    monkeypatch.setattr(arguments, "_dump", dict(arguments._dump))
    monkeypatch.setattr(arguments, "_load", dict(arguments._load))
    register_type(Money, lambda money: [money.amount, money.currency], lambda pair: Money(*pair))


def test_a_registered_type_travels(money):
    value = [Money(Decimal("1.50"), "EUR")]
    assert round_trip(value) == value


def test_the_money_of_the_guide_travels(money, monkeypatch):
    [code] = [
        block.text for block in blocks(ROOT / "docs/arguments.md") if block.text.startswith("# shop/money.py")
    ]
    module = ModuleType("shop.money")
    monkeypatch.setitem(sys.modules, "shop.money", module)
    exec(code, vars(module))
    fee = module.Money(Decimal("1.50"), "EUR")
    assert round_trip({"fee": [fee]}) == {"fee": [fee]}
    assert encode(fee)["@type"] == "money"


def test_a_type_that_a_worker_does_not_know_is_an_error_of_its_own(money):
    data = encode([Money(1, "EUR")])
    del arguments._load[data[0]["@type"]]
    with pytest.raises(UnknownType, match=r"unknown type 'tests.*Money'.*register_type\(\) where"):
        decode(data)
    register_type(Other, repr, Money, name="other")
    with pytest.raises(UnknownType):
        decode(data)


@pytest.mark.django_db
def test_a_job_with_a_type_that_its_worker_does_not_know_waits_until_one_does(money, diary):
    for run in (Plain.perform_later, lambda value: Plain.perform_later(1, key={"a": (value,)})):
        row = run(Money(1, "EUR"))
        with pytest.MonkeyPatch.context() as patch:
            patch.delitem(arguments._load, "tests.serialization.test_arguments.Money")
            _, outcome = perform_next()
        assert isinstance(outcome, Snoozed)
        DelayedJob.objects.filter(pk=row.pk).update(run_at=row.run_at)
        assert isinstance(perform_next()[1], Finished)
    assert len(diary) == 2


def test_a_name_is_registered_once(money):
    with pytest.raises(ValueError, match="registered already"):
        register_type(Money, repr, eval, name="other")
    with pytest.raises(ValueError, match="registered already"):
        register_type(Point, repr, eval, name="tests.serialization.test_arguments.Money")
    with pytest.raises(ValueError, match="registered already"):
        register_type(Point, repr, eval, name="record")


def test_what_a_registered_type_is_dumped_to_has_to_travel_too(money):
    with pytest.raises(SerializationError, match="not a finite number"):
        encode(Money(math.nan, "EUR"))


@pytest.mark.parametrize(
    "error",
    [ValueError("no such currency"), KeyError("EUR"), ConnectionError("rates"), TypeError("pair")],
    ids=repr,
)
def test_an_error_of_the_code_that_loads_a_registered_type_is_raised_as_it_is(money, error):
    def fail(data):
        raise error

    register_type(Point, lambda point: list(point), fail)
    data = encode(Point(1, 2))
    for nested in (data, [data], {"a": data}, {"@type": "tuple", "value": [data]}):
        with pytest.raises(type(error)) as raised:
            decode(nested)
        assert raised.value is error


# Data that `encode` has not written


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "{", '{"a": 1} b', "[" * 100_000, "1" * 5000, "\ud800", "{'a': 1}", "x" * 10_000_000],
    ids=range(9),
)
def test_a_text_that_is_not_json_is_an_error_of_its_own(text):
    with pytest.raises(DeserializationError, match="not JSON"):
        from_json(text)


@pytest.mark.parametrize(
    "data",
    [
        {"@type": 1},
        {"@type": None},
        {"@type": ["int"], "value": "1"},
        {"@type": {"@type": "int"}},
        {"@type": "int"},
        {"@type": "int", "value": 5},
        {"@type": "int", "value": "0xzz"},
        {"@type": "bytes", "value": "***"},
        {"@type": "bytes", "value": 5},
        {"@type": "tuple", "value": 5},
        {"@type": "tuple", "value": "ab"},
        {"@type": "tuple", "value": {"a": 1}},
        {"@type": "set", "value": [[1]]},
        {"@type": "set", "value": "ab"},
        {"@type": "frozenset", "value": None},
        {"@type": "dict", "value": {"a": 1}},
        {"@type": "dict", "value": {"ab": 1}},
        {"@type": "dict", "value": {"@type": "dict", "value": [["a", 1]]}},
        {"@type": "dict", "value": [[[], 1]]},
        {"@type": "dict", "value": [1]},
        {"@type": "datetime", "value": "yesterday", "zone": None},
        {"@type": "datetime", "value": "2026-01-01T00:00:00"},
        {"@type": "datetime", "value": "2026-01-01T00:00:00", "zone": "Mars/Phobos"},
        {"@type": "datetime", "value": "2026-01-01T00:00:00", "zone": "../../etc/passwd"},
        {"@type": "datetime", "value": "2026-01-01T00:00:00", "zone": "/etc/passwd"},
        {"@type": "datetime", "value": "2026-01-01T00:00:00", "zone": "Europe"},
        {"@type": "datetime", "value": "2026-01-01T00:00:00", "zone": "\0"},
        {"@type": "datetime", "value": "2026-01-01T00:00:00", "zone": ""},
        {"@type": "datetime", "value": "2026-01-01T00:00:00", "zone": 1e300},
        {"@type": "datetime", "value": "2026-01-01T00:00:00", "zone": [1, 2, 3]},
        {"@type": "datetime", "value": "2026-01-01T00:00:00", "zone": []},
        {"@type": "datetime", "value": "2026-01-01T00:00:00", "zone": {}},
        {"@type": "datetime", "value": "2026-01-01T00:00:00", "zone": None, "fold": 2},
        {"@type": "datetime", "value": 5, "zone": None},
        {"@type": "date", "value": "2026-02-30"},
        {"@type": "timedelta", "value": [10**20, 0, 0]},
        {"@type": "timedelta", "value": "1"},
        {"@type": "decimal", "value": "one"},
        {"@type": "decimal", "value": [1]},
        {"@type": "uuid", "value": "one"},
        {"@type": "uuid", "value": 5},
        {"@type": "path", "value": 5},
        {"@type": "model", "value": "os.system"},
        {"@type": "model", "value": "blog.article"},
        {"@type": "model", "value": 5},
        {"@type": "model", "value": ["blog.post"]},
        {"@type": "model", "value": ""},
        {"@type": "model", "value": "a.b.c"},
        {"@type": "record"},
        {"@type": "enum", "class": "os:system", "value": "A"},
        {"@type": "enum", "class": "tests.blog.jobs:Cleaner", "value": "A"},
        {"@type": "enum", "class": "tests.blog.jobs:resize", "value": "A"},
        {"@type": "enum", "class": "tests.serialization.test_arguments:Suit", "value": "CLUBS"},
        {"@type": "enum", "class": "tests.serialization.test_arguments:Suit", "value": ["HEARTS"]},
        {"@type": "enum", "class": "tests.serialization.test_arguments:Suit", "value": "__class__"},
        {"@type": "enum", "class": "tests.serialization.test_arguments:Right", "value": "READ"},
        {"@type": "enum", "class": "tests.serialization.test_arguments:Right", "value": 64},
        {"@type": "enum", "class": 5, "value": 64},
    ],
    ids=json.dumps,
)
def test_data_of_a_wrong_shape_is_an_error_of_its_own(data):
    for nested in (data, [data], {"a": data}, {"@type": "tuple", "value": [data]}):
        with pytest.raises(DeserializationError):
            decode(nested)


@pytest.mark.parametrize(
    "payload", [{}, {"args": []}, {"args": {}, "kwargs": {}}, {"args": "ab", "kwargs": {}}], ids=str
)
def test_arguments_of_a_wrong_shape_are_an_error_of_their_own(payload):
    with pytest.raises(DeserializationError, match="no arguments"):
        arguments.decode_call(payload)


def test_dates_travel_as_dates():
    assert same(round_trip(date.min), date.min)
    assert same(round_trip(datetime.min), datetime.min)
