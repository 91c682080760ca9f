"""Arguments are compared with the signature of a function, and nothing is run."""

import functools
import inspect

import pytest
from django_delayed.jobs.signatures import check_fit


def resize(photo, width=100, *, crop=False):
    raise AssertionError("it was run")


class Photo:
    def resize(self, width):
        raise AssertionError("it was run")

    @classmethod
    def open(cls, path):
        raise AssertionError("it was run")


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (resize, (1,), {}),
        (resize, (1, 2), {"crop": True}),
        (functools.lru_cache(resize), (1,), {"width": 2}),
        (Photo().resize, (1,), {}),
        (Photo.open, (), {"path": "a"}),
    ],
    ids=range(5),
)
def test_arguments_that_fit_are_accepted(function, args, kwargs):
    check_fit("name", function, args, kwargs)


def every(first, /, second, third=3, *, named=4): ...
def required(first, *, named): ...
def optional(first=1): ...
def any_number(first, *others, named=1): ...
def anything(*args, **kwargs): ...
def nothing(): ...


@pytest.mark.parametrize("count", range(6))
@pytest.mark.parametrize("function", [every, required, optional, any_number, anything, nothing, print, int])
def test_arguments_without_names_are_counted_as_binding_them_would(function, count):
    args = tuple(range(count))
    try:
        inspect.signature(function).bind(*args)
    except TypeError:
        with pytest.raises(TypeError):
            check_fit("name", function, args, {})
    except ValueError:
        # Python knows no signature of it.
        check_fit("name", function, args, {})
    else:
        check_fit("name", function, args, {})


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "why"),
    [
        (resize, (), {}, "missing a required argument: 'photo'"),
        (resize, (1, 2, True), {}, "too many positional arguments"),
        (functools.lru_cache(resize), (1,), {"height": 2}, "got an unexpected keyword argument 'height'"),
        (Photo().resize, (1, 2), {}, "too many positional arguments"),
        (Photo.open, (), {}, "missing a required argument: 'path'"),
    ],
    ids=range(5),
)
def test_arguments_that_do_not_fit_are_refused_with_the_name_and_the_reason(function, args, kwargs, why):
    with pytest.raises(TypeError) as caught:
        check_fit("name", function, args, kwargs)
    assert str(caught.value) == f"name(): {why}."


# Depending on its version, Python knows no signature for some of these.
@pytest.mark.parametrize("function", [max, iter, vars, dict, functools.lru_cache(min)], ids=range(5))
def test_a_function_whose_signature_is_unknown_takes_whatever_it_is_given(function):
    check_fit("name", function, ([3, 1],), {})
