import re
import subprocess
import sys

import django_delayed
import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.db import models
from django_delayed import DelayMixin, Job, checks
from django_delayed.jobs import hooks
from django_delayed.jobs.definition import OPEN
from django_delayed.options import WHEN
from django_delayed.serialization import names
from tests.blog import jobs
from tests.conftest import MANAGE


def told():
    return [(message.id, message.msg) for message in run_checks() if message.id.startswith("django_delayed.")]


def test_a_correct_project_gets_no_message():
    assert told() == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"MAX_ATTEMTPS": 10}, "'MAX_ATTEMTPS' is not a setting"),
        ({"MAX_ATTEMPTS": "10"}, "MAX_ATTEMPTS must be a whole number"),
        ({"MAX_RUN_TIME": None}, "MAX_RUN_TIME must be a timedelta or a number of seconds"),
        ({"TRUSTED_MODULES": 5}, "TRUSTED_MODULES"),
        ({"TRUSTED_MODULES": "shop"}, "TRUSTED_MODULES must be a list of module names"),
        ({"ENQUEUE": []}, 'ENQUEUE must be "transaction", "on_commit", "immediate" or None'),
        ({"QUEUE_ATTRIBUTES": {"mail": {"colour": 1}}}, "QUEUE_ATTRIBUTES['mail']"),
        ({5: 1}, "5 is not a setting"),
        ([("MAX_ATTEMPTS", 10)], "DJANGO_DELAYED must be a dict, not list"),
        (None, "DJANGO_DELAYED must be a dict, not NoneType"),
    ],
    ids=range(10),
)
def test_a_wrong_setting_is_an_error(settings, given, sentence):
    settings.DJANGO_DELAYED = given
    [(code, message)] = told()
    assert code == "django_delayed.E001"
    assert sentence in message


def test_every_wrong_setting_is_reported(settings):
    settings.DJANGO_DELAYED = {"A": 1, "B": 2, "MAX_ATTEMPTS": 0}
    assert [code for code, _ in told()] == ["django_delayed.E001"] * 3


def test_rangefilter_has_to_be_installed(settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "rangefilter"]
    [error] = checks.check_installed_apps()
    assert error.id == "django_delayed.E002"
    assert '"rangefilter", "django_delayed"' in error.hint


def test_rangefilter_is_not_missed_without_the_admin(settings):
    settings.INSTALLED_APPS = [
        app for app in settings.INSTALLED_APPS if app not in ("rangefilter", "django.contrib.admin")
    ]
    assert checks.check_installed_apps() == []


def test_the_alias_of_the_queue_has_to_be_a_database(settings):
    settings.DJANGO_DELAYED = {"DATABASE": "queue"}
    assert told() == [
        ("django_delayed.E003", "DJANGO_DELAYED: DATABASE is 'queue', which DATABASES does not have.")
    ]


def test_the_database_of_the_queue_has_to_be_one_of_ours(monkeypatch):
    monkeypatch.setattr(checks.connections["default"], "vendor", "oracle")
    [error] = checks.check_database()
    assert error.id == "django_delayed.E003"
    assert "a oracle; jobs are kept in postgresql, mysql, sqlite" in error.msg


def test_immediate_needs_more_than_one_writer(settings):
    settings.DJANGO_DELAYED = {"ENQUEUE": "immediate"}
    wrong = not checks.connections["default"].features.has_select_for_update
    assert [code for code, _ in told()] == ["django_delayed.E004"] * wrong


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "I012"),
        ({"ENQUEUE": None}, "I012"),
        ({"ENQUEUE": "transaction"}, "W013"),
        ({"ENQUEUE": "on_commit"}, None),
        ({"ENQUEUE": "immediate"}, None),
    ],
)
def test_a_queue_on_another_alias_gets_a_message_about_what_its_setting_does_not_promise(
    settings, monkeypatch, given, code
):
    settings.DJANGO_DELAYED = {"DATABASE": "queue", **given}
    monkeypatch.setitem(checks.connections.settings, "queue", checks.connections.settings["default"])
    found = checks.check_enqueue()
    assert [message.id for message in found] == [f"django_delayed.{code}"] * (code is not None)
    assert all("'queue'" in message.msg and "ENQUEUE" in message.msg + message.hint for message in found)


@pytest.mark.parametrize("given", [{}, {"ENQUEUE": "transaction"}, {"DATABASE": "nowhere"}])
def test_a_queue_on_the_alias_of_the_data_gets_no_message(settings, given):
    settings.DJANGO_DELAYED = given
    assert checks.check_enqueue() == []


@pytest.mark.parametrize(
    ("new", "sentence"),
    [
        ("tests.blog.jobs:Nothing", "tests.blog.jobs:Nothing does not exist."),
        ("tests.blog.jobs:timedelta", "tests.blog.jobs:timedelta is defined as datetime:timedelta."),
        ("os:system", "os:system may not be named by a job"),
        ("tests.blog.jobs:resize", None),
        ("tests.blog.tasks:resize", None),
    ],
)
def test_an_alias_has_to_lead_to_code_that_a_job_may_name(settings, new, sentence):
    settings.DJANGO_DELAYED = {"ALIASES": {"tests.blog.gone:resize": new}}
    errors = told()
    if sentence is None:
        assert errors == []
    else:
        [(code, message)] = errors
        assert code == "django_delayed.E006"
        assert message.startswith(f"DJANGO_DELAYED: ALIASES['tests.blog.gone:resize']: {sentence}")


class WithField(DelayMixin, models.Model):
    delay = models.DurationField()

    class Meta:
        app_label = "blog"
        abstract = True


class WithMethod(DelayMixin, models.Model):
    def delay(self):
        pass

    class Meta:
        app_label = "blog"
        abstract = True


class MixedInLast(models.Model, DelayMixin):
    def delay(self):
        pass

    class Meta:
        app_label = "blog"
        abstract = True


class WithoutMixin(models.Model):
    delay = models.DurationField()

    class Meta:
        app_label = "blog"
        abstract = True


@pytest.mark.parametrize("model", [WithField, WithMethod, MixedInLast], ids=range(3))
def test_a_field_or_method_called_delay_hides_that_of_the_mixin(monkeypatch, model):
    monkeypatch.setattr(apps, "get_models", lambda: [WithoutMixin, model])
    [error] = checks.check_delay()
    assert (error.id, error.obj) == ("django_delayed.E005", model)
    assert f"{model.__name__}.delay hides the delay()" in error.msg


@pytest.fixture
def define(monkeypatch):
    """Define a Job class in an installed app, until the end of the test."""

    def define(bases=(Job,), **attributes):
        job_class = type("Foreign", bases, {"__module__": "tests.blog.jobs", **attributes})
        monkeypatch.setattr(jobs, "Foreign", job_class, raising=False)
        return job_class

    yield define
    monkeypatch.undo()
    names._name_of.cache_clear()


def hook(self, *args):
    pass


FOREIGN = {name: (hook, ours) for name, ours in checks.METHODS_OF_OTHER_SYSTEMS.items()}
FOREIGN |= {name: (1, ours) for name, ours in checks.ATTRIBUTES_OF_OTHER_SYSTEMS.items()}
FOREIGN |= {
    "before_perform_log": (hook, "@hooks.before_perform above it"),
    "on_failure_notify": (staticmethod(hook), "on_failure()"),
    "after_enqueue_count": (classmethod(hook), "@hooks.after_enqueue above it"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_name_of_another_system_in_a_job_is_a_warning_that_names_ours(define, name):
    value, ours = FOREIGN[name]
    job_class = define(**{name: value})
    [warning] = checks.check_jobs()
    assert (warning.id, warning.obj) == ("django_delayed.W007", job_class)
    assert warning.msg.startswith(f"Foreign.{name} is a name from another system")
    assert warning.hint == f"Write {ours}; or rename it."


def test_a_hook_by_its_decorator_may_have_any_name(define):
    marked = hooks.after_perform(lambda self: None)
    define(success=marked, before_perform_log=marked, after=classmethod(marked))
    assert checks.check_jobs() == []


def test_no_name_of_another_system_is_one_of_ours():
    assert not {*checks.METHODS_OF_OTHER_SYSTEMS, *checks.ATTRIBUTES_OF_OTHER_SYSTEMS} & OPEN
    for name, ours in FOREIGN.items():
        named = re.findall(r"\b[a-z]+_[a-z_]+\b", ours[1])
        assert all(one in WHEN or hasattr(Job, one) or hasattr(django_delayed, one) for one in named), name


def test_the_mixin_of_a_job_is_checked_and_its_parent_only_once(define):
    class Logging:
        def on_success(self):
            pass

    parent = define((Logging, Job), failure=hook)
    child = type("Child", (parent,), {"__module__": "tests.blog.jobs"})
    assert sorted(warning.msg.split()[0] for warning in checks.check_jobs() if warning.obj is parent) == [
        "Foreign.failure",
        "Foreign.on_success",
    ]
    assert [warning for warning in checks.check_jobs() if warning.obj is child] == []


@pytest.mark.parametrize("value", [5, "text", None, hook])
def test_a_member_that_is_no_hook_in_another_system_may_have_any_name(define, value):
    define(**({"report": value, "errors": value} if callable(value) else {"error": value, "after": value}))
    assert checks.check_jobs() == []


def test_a_class_that_no_row_may_name_is_not_checked():
    class Local(Job):
        def success(self):
            pass

    assert checks.check_jobs() == []


@pytest.fixture
def manage_with(tmp_path, child_environment):
    """Run `manage.py` with this DJANGO_DELAYED on top of the tests' settings; gives the finished process."""

    def run(given, *arguments):
        (tmp_path / "wrong_settings.py").write_text(
            f"from tests.settings import *\nDJANGO_DELAYED = {given}\n"
        )
        path = f"{tmp_path}:{child_environment['PYTHONPATH']}"
        return subprocess.run(
            [sys.executable, MANAGE, *arguments],
            env={**child_environment, "DJANGO_SETTINGS_MODULE": "wrong_settings", "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.mark.parametrize(
    "given",
    ["5", "None", "{'MAX_ATTEMPTS': '10', 'MAX_RUN_TIME': 'x'}", "{'TRUSTED_MODULES': 5}", "{'UNKNOWN': 1}"],
    ids=range(5),
)
def test_manage_check_shows_the_error_and_no_traceback(manage_with, given):
    process = manage_with(given, "check")
    assert process.returncode == 1
    assert "django_delayed.E001" in process.stderr
    assert "Traceback" not in process.stderr


def test_manage_check_and_migrate_print_no_warning(manage_with):
    assert "System check identified no issues" in manage_with("{}", "check", "--database", "default").stdout
    assert manage_with("{}", "migrate", "--verbosity", "0").stderr == ""


@pytest.mark.parametrize(
    "path", ["nowhere.at.all", "tests.blog.context.Nothing", "tests.blog.context.Incomplete"]
)
def test_an_invalid_provider_of_context_is_an_error(settings, path):
    settings.DJANGO_DELAYED = {"CONTEXT": {"good": "tests.blog.context.RequestId", "mine": path}}
    [error] = [message for message in run_checks() if message.id == "django_delayed.E011"]
    assert error.msg.startswith("DJANGO_DELAYED['CONTEXT']['mine']: ")
