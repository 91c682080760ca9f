"""Every setting of `DJANGO_DELAYED`: its default, its type, its meaning; read when asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

SMTP = "django.core.mail.backends.smtp.EmailBackend"
LONGEST = timedelta(days=36_525)  # a century, which every database can still add to its clock


def duration(value: timedelta | float, what: str) -> timedelta:
    """A timedelta >= 0 from one or from seconds. Raises TypeError or ValueError that names `what`."""
    if isinstance(value, bool) or not isinstance(value, (timedelta, int, float)):
        raise TypeError(f"{what} must be a timedelta or a number of seconds, not {value!r}.")
    try:
        value = value if isinstance(value, timedelta) else timedelta(seconds=value)
    except (OverflowError, ValueError):
        raise ValueError(f"{what} is out of range: {value!r}.") from None
    if value < timedelta(0):
        raise ValueError(f"{what} must not be negative, got {value!r}.")
    return value


def queue_name(value: Any, what: str) -> str:
    """A name that a queue may have. Raises TypeError or ValueError that names `what`."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a string, not {value!r}.")
    if not value or len(value) > 255 or not value.isprintable():
        raise ValueError(f"{what} must be 1 to 255 printable characters, not {value[:300]!r}.")
    return str(value)


def _setting(default: Any, check: Callable[[str, Any], Any]) -> Any:
    factory: dict[str, Any] = {"default_factory": default} if callable(default) else {"default": default}
    return dataclasses.field(**factory, metadata={"check": check})


def _duration(name: str, value: Any) -> timedelta:
    if (span := duration(value, name)) > LONGEST:
        raise ValueError(f"{name} must be at most {LONGEST.days:,} days.")
    return span


def _positive_duration(name: str, value: Any) -> timedelta:
    if not (span := _duration(name, value)):
        raise ValueError(f"{name} must be longer than 0 seconds.")
    return span


def _optional_duration(name: str, value: Any) -> timedelta | None:
    return None if value is None else _duration(name, value)


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}.")
    if not -(2**31) <= value < 2**31:
        raise ValueError(f"{name} must fit into 32 bits, got {value}.")
    return value


def _count(name: str, value: Any) -> int:
    if _integer(name, value) < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    return int(value)


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}.")
    return value


def _optional_boolean(name: str, value: Any) -> bool | None:
    return None if value is None else _boolean(name, value)


def _boolean_or_callable(name: str, value: Any) -> bool | Callable[..., Any]:
    if not isinstance(value, bool) and not callable(value):
        raise TypeError(f"{name} must be True, False or a function of the job, not {value!r}.")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} must be a non-empty string, not {value!r}.")
    return value


def _queue(name: str, value: Any) -> str:
    return queue_name(value, name)


def _enqueue_mode(name: str, value: Any) -> str:
    if value not in ("transaction", "on_commit", "immediate"):
        raise ValueError(f'{name} must be "transaction", "on_commit" or "immediate", not {value!r}.')
    return str(value)


def _modules(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(module, str) for module in value):
        raise TypeError(f"{name} must be a list of module names, not {value!r}.")
    return tuple(value)


def _queue_attributes(name: str, value: Any) -> Mapping[str, Mapping[str, int]]:
    if not isinstance(value, Mapping) or not all(isinstance(queue, str) for queue in value):
        raise TypeError(f"{name} must be a dict of queue names, not {value!r}.")
    for queue, attributes in value.items():
        if not isinstance(attributes, Mapping) or set(attributes) - {"priority"}:
            raise ValueError(f'{name}[{queue!r}] must be a dict with the key "priority", not {attributes!r}.')
        if "priority" in attributes:
            _integer(f"{name}[{queue!r}]['priority']", attributes["priority"])
    return value


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings in force; durations are timedeltas (a bare number is seconds)."""

    MAX_ATTEMPTS: int = _setting(25, _count)  # delayed_job's; with 5 + N**4 s between them, 20.4 days in all
    MAX_RUN_TIME: timedelta = _setting(timedelta(hours=4), _positive_duration)
    SLEEP_DELAY: timedelta = _setting(timedelta(seconds=5), _duration)
    READ_AHEAD: int = _setting(100, _count)
    DEFAULT_QUEUE: str = _setting("default", _queue)
    DEFAULT_PRIORITY: int = _setting(0, _integer)
    QUEUE_ATTRIBUTES: Mapping[str, Mapping[str, int]] = _setting(dict, _queue_attributes)
    DESTROY_FAILED_JOBS: bool = _setting(False, _boolean)
    KEEP_FINISHED_FOR: timedelta | None = _setting(None, _optional_duration)
    RESULT_TTL: timedelta = _setting(timedelta(days=1), _duration)
    DELAY_JOBS: bool | Callable[..., Any] = _setting(True, _boolean_or_callable)
    ENQUEUE: str = _setting("transaction", _enqueue_mode)
    DATABASE: str = _setting("default", _text)
    TRUSTED_MODULES: tuple[str, ...] = _setting(tuple, _modules)
    MAX_ARGUMENTS_SIZE: int = _setting(1024 * 1024, _count)
    MAX_MAIL_SIZE: int = _setting(25 * 1024 * 1024, _count)
    EMAIL_BACKEND: str = _setting(SMTP, _text)
    SHUTDOWN_TIMEOUT: timedelta = _setting(timedelta(seconds=25), _duration)
    LEASE: timedelta = _setting(timedelta(seconds=60), _positive_duration)
    RELOAD: bool | None = _setting(None, _optional_boolean)  # None: as DEBUG says
    WAKE_UP: bool = _setting(True, _boolean)


FIELDS = {field.name: field for field in dataclasses.fields(Settings)}


def _given() -> Mapping[str, Any]:
    given = getattr(django_settings, "DJANGO_DELAYED", {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"DJANGO_DELAYED must be a dict, not {type(given).__name__}.")
    return given


def problems() -> Iterator[tuple[str, str]]:
    """Each (setting, sentence) that is wrong in DJANGO_DELAYED; nothing when all is well."""
    for name, value in _given().items():
        if name not in FIELDS:
            yield name, f"DJANGO_DELAYED has no setting {name!r}. It knows: {', '.join(FIELDS)}."
            continue
        try:
            FIELDS[name].metadata["check"](name, value)
        except (TypeError, ValueError) as error:
            yield name, f"DJANGO_DELAYED: {error}"


class _LazySettings:
    """`settings.MAX_ATTEMPTS` and so on; loaded at the first look, again after a `setting_changed`."""

    def __getattr__(self, name: str) -> Any:
        if name not in FIELDS:
            raise AttributeError(name)
        self._load()
        return self.__dict__[name]

    def _load(self) -> None:
        for _, sentence in problems():
            raise ImproperlyConfigured(sentence)
        checked = {name: FIELDS[name].metadata["check"](name, value) for name, value in _given().items()}
        self.__dict__.update(vars(Settings(**checked)))
        if self.__dict__["RELOAD"] is None:
            self.__dict__["RELOAD"] = django_settings.DEBUG

    def reset(self) -> None:
        """Forget what was read; the next look reads Django's settings again."""
        self.__dict__.clear()


settings: Settings = _LazySettings()  # type: ignore[assignment]


def _forget(*, setting: str, **_: Any) -> None:
    if setting in ("DJANGO_DELAYED", "DEBUG"):
        settings.reset()  # type: ignore[attr-defined]


setting_changed.connect(_forget)
