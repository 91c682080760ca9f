"""The settings in `DJANGO_DELAYED`: their defaults and types. They are read when they are first needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from .values import (
    CATCH_UP,
    CODE_NAME,
    bounded_duration,
    count,
    integer,
    positive_duration,
    queue_name,
    token,
)


def _optional_queue_name(value: Any, name: str) -> str | None:
    return None if value is None else queue_name(value, name)


def _setting(default: Any, check: Callable[[Any, str], Any]) -> Any:
    factory: dict[str, Any] = {"default_factory": default} if callable(default) else {"default": default}
    return dataclasses.field(**factory, metadata={"check": check})


def _optional_duration(value: Any, name: str) -> timedelta | None:
    return None if value is None else bounded_duration(value, name)


def _boolean(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}.")
    return value


def _optional_boolean(value: Any, name: str) -> bool | None:
    return None if value is None else _boolean(value, name)


def _boolean_or_callable(value: Any, name: str) -> bool | Callable[..., Any]:
    if not isinstance(value, bool) and not callable(value):
        raise TypeError(f"{name} must be True, False or a function of the job, not {value!r}.")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} must be a non-empty string, not {value!r}.")
    return value


def _optional_token(value: Any, name: str) -> str | None:
    return None if value is None else token(value, name)


def _enqueue_mode(value: Any, name: str) -> str | None:
    if value not in (None, "transaction", "on_commit", "immediate"):
        raise ValueError(f'{name} must be "transaction", "on_commit", "immediate" or None, not {value!r}.')
    return value


def _modules(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(module, str) for module in value):
        raise TypeError(f"{name} must be a list of module names, not {value!r}.")
    return tuple(value)


def _queue_attributes(value: Any, name: str) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict of queue names, not {value!r}.")
    return {
        queue_name(queue, f"A key of {name}"): _attributes(attributes, f"{name}[{queue!r}]")
        for queue, attributes in value.items()
    }


_ATTRIBUTES = {"priority": integer, "max_attempts": count, "max_run_time": positive_duration}


def _attributes(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not _ATTRIBUTES.keys() >= set(value):
        raise ValueError(
            f"{name} must be a dict with some of the keys {', '.join(_ATTRIBUTES)}, not {value!r}."
        )
    return {key: _ATTRIBUTES[key](attribute, f"{name}[{key!r}]") for key, attribute in value.items()}


def _providers(value: Any, name: str) -> Mapping[str, str]:
    texts = [*value, *value.values()] if isinstance(value, Mapping) else [None]
    if not all(isinstance(text, str) and text for text in texts):
        raise TypeError(f'{name} must be a dict like {{"tenant": "shop.context.Tenant"}}, not {value!r}.')
    return value


_OF_RECURRING = {
    *("job", "schedule", "catch_up", "args", "kwargs"),
    *("queue", "priority", "max_attempts", "max_run_time", "unique"),
}


def _recurring(value: Any, name: str) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict of names and dicts, not {value!r}.")
    for key, entry in value.items():
        if not isinstance(key, str) or not 0 < len(key) <= 255 or key != key.strip() or not key.isprintable():
            raise ValueError(
                f"A key of {name} must be a name of 1 to 255 printable characters, without a space at its"
                f" ends, not {key!r}."
            )
        _check_entry(entry, f"{name}[{key!r}]")
    return value


def _check_entry(entry: Any, name: str) -> None:
    if not isinstance(entry, Mapping) or not {"job", "schedule"} <= entry.keys() <= _OF_RECURRING:
        allowed = ", ".join(sorted(_OF_RECURRING - {"job", "schedule"}))
        raise ValueError(
            f"{name} must be a dict with job and schedule, and perhaps {allowed}, not {entry!r}."
        )
    if not isinstance(entry["job"], str) or not CODE_NAME.fullmatch(entry["job"]):
        raise ValueError(f'{name}: job must be a name like "shop.jobs:CleanUp", not {entry["job"]!r}.')
    if entry.get("catch_up", "latest") not in CATCH_UP:
        raise ValueError(f"{name}: catch_up must be one of {', '.join(CATCH_UP)}, not {entry['catch_up']!r}.")
    args, kwargs = entry.get("args", ()), entry.get("kwargs", {})
    if not isinstance(args, (list, tuple)):
        raise TypeError(f"{name}: args must be a list, not {args!r}.")
    if not isinstance(kwargs, Mapping) or not all(isinstance(key, str) for key in kwargs):
        raise TypeError(f"{name}: kwargs must be a dict of names, not {kwargs!r}.")


def _aliases(value: Any, name: str) -> Mapping[str, str]:
    texts = [*value, *value.values()] if isinstance(value, Mapping) else [None]
    if not all(isinstance(text, str) and CODE_NAME.fullmatch(text) for text in texts):
        raise TypeError(f'{name} must be a dict like {{"shop.jobs:Old": "shop.work:New"}}, not {value!r}.')
    for new in value:
        for _ in value:
            new = value.get(new, "")
        if new in value:
            raise ValueError(f"{name} is circular at {new!r}.")
    return value


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings in force. Durations are timedeltas; in DJANGO_DELAYED, a bare number is seconds."""

    # As in delayed_job. With its 5 + N**4 seconds between them, they take 20.4 days in all.
    MAX_ATTEMPTS: int = _setting(25, count)
    MAX_RUN_TIME: timedelta = _setting(timedelta(hours=4), positive_duration)
    SLEEP_DELAY: timedelta = _setting(timedelta(seconds=5), bounded_duration)
    READ_AHEAD: int = _setting(500, count)
    DEFAULT_QUEUE: str = _setting("default", queue_name)
    DEFAULT_PRIORITY: int = _setting(0, integer)
    QUEUE_ATTRIBUTES: Mapping[str, Mapping[str, Any]] = _setting(dict, _queue_attributes)
    DESTROY_FAILED_JOBS: bool = _setting(False, _boolean)
    KEEP_FINISHED_FOR: timedelta | None = _setting(None, _optional_duration)
    RESULT_TTL: timedelta = _setting(timedelta(days=1), positive_duration)
    KEEP_FAILED_FOR: timedelta | None = _setting(None, _optional_duration)
    DELAY_JOBS: bool | Callable[..., Any] = _setting(True, _boolean_or_callable)
    # None: in the caller's transaction if the queue is on its alias, else on its commit.
    ENQUEUE: str | None = _setting(None, _enqueue_mode)
    DATABASE: str = _setting("default", _text)
    CONTEXT: Mapping[str, str] = _setting(dict, _providers)
    TRUSTED_MODULES: tuple[str, ...] = _setting(tuple, _modules)
    ALIASES: Mapping[str, str] = _setting(dict, _aliases)
    RECURRING: Mapping[str, Mapping[str, Any]] = _setting(dict, _recurring)
    UNKNOWN_GRACE: timedelta = _setting(timedelta(minutes=10), bounded_duration)
    MAX_ARGUMENTS_SIZE: int = _setting(1024 * 1024, count)
    MAX_MAIL_SIZE: int = _setting(25 * 1024 * 1024, count)
    EMAIL_BACKEND: str = _setting("django.core.mail.backends.smtp.EmailBackend", _text)
    # None: DEFAULT_QUEUE.
    MAIL_QUEUE: str | None = _setting(None, _optional_queue_name)
    SHUTDOWN_TIMEOUT: timedelta = _setting(timedelta(seconds=25), bounded_duration)
    LEASE: timedelta = _setting(timedelta(seconds=60), positive_duration)
    # None: there are no pages of metrics.
    METRICS_TOKEN: str | None = _setting(None, _optional_token)
    # None: the value of DEBUG.
    RELOAD: bool | None = _setting(None, _optional_boolean)


FIELDS = {field.name: field for field in dataclasses.fields(Settings)}


def _given() -> Mapping[str, Any]:
    given = getattr(django_settings, "DJANGO_DELAYED", {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"DJANGO_DELAYED must be a dict, not {type(given).__name__}.")
    return given


def _check(name: str, value: Any) -> Any:
    """The value as its setting takes it. Raises TypeError or ValueError."""
    if name not in FIELDS:
        raise ValueError(f"{name!r} is not a setting. The settings are {', '.join(FIELDS)}.")
    return FIELDS[name].metadata["check"](value, name)


def problems() -> Iterator[str]:
    """The errors in DJANGO_DELAYED, a sentence for each setting."""
    for name, value in _given().items():
        try:
            _check(name, value)
        except (TypeError, ValueError) as error:
            yield f"DJANGO_DELAYED: {error}"


class _LazySettings:
    """`settings.MAX_ATTEMPTS` and so on, read when one is needed, and again after `setting_changed`."""

    def __getattr__(self, name: str) -> Any:
        if name not in FIELDS:
            raise AttributeError(name)
        self._load()
        return self.__dict__[name]

    def _load(self) -> None:
        try:
            checked = {name: _check(name, value) for name, value in _given().items()}
        except (TypeError, ValueError) as error:
            raise ImproperlyConfigured(f"DJANGO_DELAYED: {error}") from None
        self.__dict__.update(vars(Settings(**checked)))
        if self.__dict__["RELOAD"] is None:
            self.__dict__["RELOAD"] = django_settings.DEBUG

    def reset(self) -> None:
        """Forget what was read."""
        self.__dict__.clear()


settings: Settings = _LazySettings()  # type: ignore[assignment]


def _forget(*, setting: str, **_: Any) -> None:
    if setting in ("DJANGO_DELAYED", "DEBUG"):
        settings.reset()  # type: ignore[attr-defined]


setting_changed.connect(_forget)
