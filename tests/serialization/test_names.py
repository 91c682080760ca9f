import subprocess
import sys
from types import FunctionType

import pytest
from django.db import InterfaceError
from django_delayed import DeserializationError, SerializationError
from django_delayed.serialization.names import name_of, resolve
from tests.blog import diary, jobs, models
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def clean_diary():
    diary.entries.clear()
    yield
    assert diary.entries == []  # nothing here runs any code of a job


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (jobs.resize, "tests.blog.jobs:resize"),
        (jobs.decorated, "tests.blog.jobs:decorated"),
        (jobs.remembered, "tests.blog.jobs:remembered"),
        (jobs.CleanUpJob, "tests.blog.jobs:CleanUpJob"),
        (jobs.Cleaner.Inner, "tests.blog.jobs:Cleaner.Inner"),
        (jobs.Cleaner.wipe, "tests.blog.jobs:Cleaner.wipe"),
        (models.Article, "tests.blog.models:Article"),
        (models.Post.send_to_twitter, "tests.blog.models:Post.send_to_twitter"),
    ],
    ids=range(8),
)
def test_a_name_leads_back_to_where_it_came_from(thing, name):
    assert name_of(thing) == name
    assert resolve(name) is thing


def local():
    def inside():
        pass

    return inside


class Impostor:
    pass


Impostor.__module__, Impostor.__qualname__ = "tests.blog.jobs", "Cleaner"


@pytest.mark.parametrize(
    ("thing", "sentence"),
    [
        (lambda: None, "is a lambda or is defined inside a function.*define it at the top of a module"),
        (jobs.a_lambda, "is a lambda"),
        (local(), "defined inside a function"),
        (print, "is none of INSTALLED_APPS|not in any of INSTALLED_APPS"),
        (
            subprocess.run,
            "not in any of INSTALLED_APPS .*; add its app there, or the module to .*TRUSTED_MODULES",
        ),
        (subprocess.Popen, "not in any of INSTALLED_APPS"),
        (local, "not in any of INSTALLED_APPS"),
        (models.Post._internal, "is private"),
        (type("Typed", (), {"__module__": "__main__"}), "Typed is defined in a script or a shell"),
        (Impostor, "a worker would find <class 'tests.blog.jobs.Cleaner'>"),
        (5, "has no name"),
        ("text", "has no name"),
    ],
    ids=range(12),
)
def test_a_thing_that_a_worker_could_not_find_by_its_name_is_refused(thing, sentence):
    with pytest.raises(SerializationError, match=sentence):
        name_of(thing)


HOSTILE = [
    "os:system",
    "builtins:eval",
    "builtins:__import__",
    "subprocess:Popen",
    "posix:system",
    "tests.blog.jobs:system",
    "tests.blog.jobs:os.system",
    "tests.blog.jobs:os",
    "tests.blog.jobs:path_of.join",
    "tests.blog.jobs:timedelta",
    "tests.blog.jobs:Job",
    "tests.blog.jobs:Job.__init__",
    "tests.blog.jobs:CleanUpJob.perform_later.__func__.__globals__",
    "tests.blog.jobs:CleanUpJob.__init__.__globals__",
    "tests.blog.jobs:CleanUpJob.perform_later",
    "tests.blog.jobs:Cleaner.clean.__self__",
    "tests.blog.jobs:Cleaner.size",
    "tests.blog.jobs:Cleaner.level",
    "tests.blog.jobs:Plain.before_enqueue",
    "tests.blog.jobs:resize.__code__",
    "tests.blog.jobs:decorated.__wrapped__",
    "tests.blog.jobs:lazy",
    "tests.blog.jobs:lazy.real",
    "tests.blog.jobs:nothing",
    "tests.blog.jobs:CALLS",
    "tests.blog.jobs:CALLS.clear",
    "tests.blog.jobs:a_lambda",
    "tests.blog.jobs:<lambda>",
    "tests.blog.models:models",
    "tests.blog.models:models.Model",
    "tests.blog.models:Post.objects",
    "tests.blog.models:Post.title",
    "tests.blog.models:Post.headline",
    "tests.blog.models:Post._internal",
    "tests.blog:jobs",
    "tests.blog:jobs.resize",
    "tests.blog.missing:Job",
    "tests.blog.__init__:diary",
    "tests.blog.__main__:main",
    "tests.blogger:Post",
    "tests:blog",
    "tests.stranger:greet",
    "stranger:greet",
    "django.core.management:call_command",
    "django.contrib.auth.models:User",
    "django:setup",
    "django_delayed.serialization.names:import_module",
    "django_delayed.serialization.names:_import",
    "__main__:anything",
    "",
    ":",
    "tests.blog.jobs",
    "tests.blog.jobs:",
    ":resize",
    "tests.blog.jobs:resize:x",
    "tests.blog.jobs:.resize",
    "tests.blog.jobs:resize.",
    "tests..blog.jobs:resize",
    ".jobs:resize",
    "tests/blog/jobs:resize",
    "tests.blog.jobs:resize\0",
    "tests.blog.jobs: resize",
    "tests.blog.jobs:re size",
    "tests.blog.jobs:resize()",
    "x" * 1_000_000 + ":y",
    "tests.blog." + "a." * 5000 + "b:c",
    None,
    5,
    True,
    ["tests.blog.jobs:resize"],
    {"tests.blog.jobs": "resize"},
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_every_other_name_is_refused(name):
    with pytest.raises(DeserializationError):
        resolve(name)


# Code that has moved


FORMER = {
    "function": ("tests.blog.former:resize", jobs.resize),
    "Job": ("tests.blog.former:Plain", jobs.Plain),
    "Job under another name": ("tests.blog.former:SweepJob", jobs.CleanUpJob),
    "class": ("tests.blog.former:Cleaner", jobs.Cleaner),
    "class inside": ("tests.blog.former:Cleaner.Inner", jobs.Cleaner.Inner),
    "Enum": ("tests.blog.former:Mood", jobs.Mood),
    "Mailer": ("tests.blog.former:NoticeMailer", jobs.NoticeMailer),
    "model": ("tests.blog.former:Article", models.Article),
}


@pytest.mark.parametrize(("name", "thing"), FORMER.values(), ids=FORMER)
def test_an_import_at_the_old_place_leads_to_code_that_has_moved(name, thing):
    assert resolve(name) is thing
    assert name_of(thing) != name  # what is enqueued has the new name


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("tests.blog.former:system", "is not defined there"),
        (
            "tests.blog.former:timedelta",
            "is defined as datetime:timedelta. datetime:timedelta may not be",
        ),
        ("tests.blog.former:os.system", "does not exist"),
        ("tests.blog.former:jobs.resize", "does not exist"),
        ("tests.blog.former:jobs", "is not defined there"),
        ("tests.blog.former:Plain.perform_later", "is defined as django_delayed.jobs.job:Job.perform_later"),
        ("tests.blog.former:shrink", "is defined as tests.blog.jobs:resize, but that name leads to"),
        ("tests.blog.former:Cleaner.level", "is not defined there"),
        ("tests.blog.former:Nothing", "does not exist"),
    ],
)
def test_an_import_leads_to_nothing_that_a_row_may_not_name_itself(name, sentence):
    with pytest.raises(DeserializationError, match=sentence):
        resolve(name)


@pytest.mark.parametrize(
    "new", [name_of(thing) for _, thing in FORMER.values()] + ["tests.blog.former:resize"], ids=str
)
@pytest.mark.parametrize("old", ["tests.blog.jobs:Nothing", "tests.blog.gone:it", "gone.app:it"])
def test_the_setting_aliases_leads_to_code_that_has_moved(settings, old, new):
    settings.DJANGO_DELAYED = {"ALIASES": {"first.of:all": old, old: new}}
    assert resolve(old) is resolve(new)
    assert resolve("first.of:all") is resolve(new)


@pytest.mark.parametrize("new", ["os:system", "tests.blog.jobs:timedelta", "tests.stranger:greet", "a.b:c"])
def test_the_setting_aliases_leads_to_nothing_that_a_row_may_not_name_itself(settings, new):
    settings.DJANGO_DELAYED = {"ALIASES": {"tests.blog.jobs:Nothing": new}}
    with pytest.raises(DeserializationError, match="may not be named by a job"):
        resolve("tests.blog.jobs:Nothing")


@pytest.mark.parametrize("name", ["tests.blog.jobs:OldName", "tests.blog.gone:OlderName"])
def test_an_alias_of_a_job_leads_to_it(name):
    assert resolve(name) is jobs.Renamed


def test_an_alias_does_not_hide_code_that_has_the_name_itself(settings):
    settings.DJANGO_DELAYED = {"ALIASES": {"tests.blog.jobs:resize": "tests.blog.jobs:decorated"}}
    assert resolve("tests.blog.jobs:resize") is jobs.resize


def test_what_is_enqueued_is_named_by_where_it_is_defined(settings):
    settings.DJANGO_DELAYED = {"ALIASES": {"tests.blog.jobs:Impostor": "tests.blog.jobs:Cleaner"}}
    with pytest.raises(SerializationError, match="a worker would find <class"):
        name_of(Impostor)
    imported = FunctionType((lambda: None).__code__, {}, "resize")
    imported.__module__, imported.__qualname__ = "tests.blog.former", "resize"
    with pytest.raises(SerializationError, match="is not defined there"):
        name_of(imported)


def test_a_module_may_be_trusted_by_name(settings):
    with pytest.raises(DeserializationError):
        resolve("tests.conftest:ROOT")
    settings.DJANGO_DELAYED = {"TRUSTED_MODULES": ["tests.serialization.test_names"]}
    assert (
        resolve("tests.serialization.test_names:Trusted")
        is sys.modules["tests.serialization.test_names"].Trusted
    )
    with pytest.raises(DeserializationError):
        resolve("tests.serialization.test_records:round_trip")
    settings.DJANGO_DELAYED = {}
    with pytest.raises(DeserializationError, match="TRUSTED_MODULES"):
        resolve("tests.serialization.test_names:Trusted")


class Trusted:
    pass


def test_an_app_that_is_removed_takes_its_names_with_it(settings):
    assert name_of(jobs.resize)
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "tests.blog"]
    with pytest.raises(SerializationError):
        name_of(jobs.resize)


def test_a_module_that_fails_at_its_import_is_an_error_of_its_own(monkeypatch, tmp_path, settings):
    (tmp_path / "trusted_and_broken.py").write_text("1 / 0")
    (tmp_path / "trusted_and_away.py").write_text(
        "from django.db import InterfaceError\nraise InterfaceError"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings.DJANGO_DELAYED = {"TRUSTED_MODULES": ["trusted_and_broken", "trusted_and_away"]}
    with pytest.raises(DeserializationError, match=r"imported: ZeroDivisionError: division by zero$"):
        resolve("trusted_and_broken:Job")
    with pytest.raises(DeserializationError, match=r"imported: ModuleNotFoundError: .* If it has moved"):
        resolve("tests.blog.gone:Job")
    with pytest.raises(InterfaceError):  # the database may come back
        resolve("trusted_and_away:Job")


PROBE = """
import sys
import django
django.setup()
from django_delayed.exceptions import DeserializationError
from django_delayed.serialization.names import resolve

names = eval(sys.stdin.read())
before = set(sys.modules)
imported = []
sys.addaudithook(lambda event, args: event == "import" and imported.append(args[0]))
for name in names:
    try:
        resolve(name)
        sys.exit(f"{name} was found")
    except DeserializationError:
        pass
print(sorted(set(sys.modules) - before), sorted(set(imported)), hasattr(sys, "stranger_was_imported"))
"""


def test_nothing_is_imported_for_a_name_from_outside():
    outside = [name for name in HOSTILE if not (isinstance(name, str) and name.startswith("tests.blog."))]
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE],
        input=repr([*outside, "tests.blog.jobs:os.system", "antigravity:geohash", "this:d", "turtle:Turtle"]),
        cwd=ROOT,
        env={**sys.modules["os"].environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.stderr == ""
    assert process.stdout == "[] [] False\n"


def test_a_module_of_an_installed_app_is_imported_when_a_job_names_it():
    sys.modules.pop("tests.blog.uninvited", None)
    assert resolve("tests.blog.uninvited:come").__name__ == "come"
