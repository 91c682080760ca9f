import dataclasses
import io
import math
import numbers
from array import array
from collections import OrderedDict, defaultdict, deque, namedtuple
from fractions import Fraction
from pathlib import PurePosixPath
from types import MappingProxyType

import pytest
from django.http import QueryDict
from django_delayed import SerializationError
from django_delayed.serialization.arguments import encode, encode_call
from tests.blog.models import Post


def a_cycle():
    cycle = {}
    cycle["itself"] = [cycle]
    return cycle


class List(list):
    pass


class Tagged(str):
    def __init__(self, text):
        self.tag = "b"


Point = namedtuple("Point", "x y")


PLACES = {
    "list": ([1, [2, 3j]], "argument 1, [1][1]: a builtins.complex"),
    "dict": ({"a": {"b c": 3j}}, "argument 1, ['a']['b c']: a builtins.complex"),
    "tuple in a list of dicts": ([{}, {"total": (0, 3j)}], "argument 1, [1]['total'][1]: a builtins.complex"),
    "set": ([{1, (2, 3j)}], "argument 1, [0]{…}[1]: a builtins.complex"),
    "key": (
        [0, {"a": {1: 2}}],
        "argument 1, [1]['a']: the keys of a dict must be of type str, not int; write",
    ),
    "text": ({"a": ["\0"]}, "argument 1, ['a'][0]: the text has a NUL character"),
    "unsaved": ([{"post": Post()}], "argument 1, [0]['post']: the blog.post is not saved"),
    "number": ([math.inf], "argument 1, [0]: inf is not a finite number"),
}


@pytest.mark.parametrize(("value", "sentence"), PLACES.values(), ids=PLACES)
def test_the_error_names_the_place_inside_the_argument(value, sentence):
    with pytest.raises(SerializationError) as error:
        encode_call([value], {})
    assert str(error.value).startswith(sentence)


def test_the_error_about_a_cycle_names_the_argument_alone():
    with pytest.raises(SerializationError, match=r"^argument 1: it is nested more than 100 levels deep"):
        encode_call([a_cycle()], {})


class Int64(numbers.Integral):
    """Like a number of numpy, which is not an int."""

    __int__ = lambda self: 7  # noqa: E731


Int64.__abstractmethods__ = frozenset()


@dataclasses.dataclass
class Parcel:
    weight: int


CONVERSIONS = {
    "number of numpy": (Int64(), "int(…)"),
    "fraction": (Fraction(1, 2), "float(…)"),
    "array": (array("d", [1.5]), "value.tolist()"),
    "range": (range(3), "list(…)"),
    "generator": ((x for x in "ab"), "list(…)"),
    "queryset": (Post.objects.none(), "list(…)"),
    "deque": (deque([1]), "list(…)"),
    "keys": ({"a": 1}.keys(), "list(…)"),
    "list of a class": (List(), "list(…)"),
    "form data": (QueryDict("a=1&a=2"), "value.dict() or dict(value.lists()) for every value of each key"),
    "ordered dict": (OrderedDict(a=1), "dict(…)"),
    "default dict": (defaultdict(int), "dict(…)"),
    "read-only dict": (MappingProxyType({}), "dict(…)"),
    "namedtuple": (Point(1, 2), "tuple(…) or value._asdict()"),
    "dataclass": (Parcel(3), "dataclasses.asdict(…)"),
    "text with an attribute": (Tagged("a"), "str(…)"),
    "pure path": (PurePosixPath("a"), "str(…)"),
    "bytearray": (bytearray(b"a"), "bytes(…)"),
    "set of a class": (type("Bag", (set,), {})(), "set(…)"),
    "object": (object(), None),
    "file": (io.BytesIO(b"a"), None),
    "complex": (1j, None),
}


@pytest.mark.parametrize(("value", "conversion"), CONVERSIONS.values(), ids=CONVERSIONS)
def test_the_error_says_what_to_write_instead(value, conversion):
    with pytest.raises(SerializationError) as error:
        encode_call([1], {"k": {"total": value}})
    assert str(error.value).startswith("argument 'k', ['total']: a ")
    instead = f"write {conversion}" if conversion else "pass something simpler"
    sentence = f" cannot be serialized; {instead}, or register its type with django_delayed.register_type()"
    assert str(error.value).endswith(sentence)


@pytest.mark.parametrize("kind", [kind for kind, (_, conversion) in CONVERSIONS.items() if conversion])
def test_what_it_says_to_write_can_be_serialized(kind):
    value, conversion = CONVERSIONS[kind]
    for call in conversion.partition(" for ")[0].replace("…", "value").split(" or "):
        encode(eval(call, {"value": value, "dataclasses": dataclasses}))
