"""The pages of docs/: what they say of settings, commands, files, tests and code is so."""

import ast
import dataclasses
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.utils import timezone, translation
from django_delayed import conf
from django_delayed.call_jobs import Call, CallJob
from django_delayed.models import State
from tests.stories.markdown import ROOT, blocks

from shop.models import Post

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
TYPES = {
    "_count": "whole number ≥ 1",
    "_integer": "whole number",
    "_boolean": "boolean",
    "_optional_boolean": "boolean or None",
    "_boolean_or_callable": "boolean or function",
    "_text": "text",
    "_queue": "text",
    "_modules": "list of texts",
    "_queue_attributes": "dict",
    "_enqueue_mode": '`"transaction"`, `"on_commit"` or `"immediate"`',
    "_duration": "duration",
    "_positive_duration": "duration > 0",
    "_optional_duration": "duration or None",
}


def rows_of_tables(page):
    """The cells of each row of each table of a page."""
    for line in page.read_text().splitlines():
        if line.startswith("|") and not line.startswith("|--"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def all_pages(test):
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)(test)


def test_the_page_of_settings_has_each_with_its_default_and_type():
    table = {row[0].strip("`"): row[1:] for row in rows_of_tables(ROOT / "docs/settings.md") if len(row) == 4}
    del table["setting"]
    defaults = conf.Settings()
    assert list(table) == [field.name for field in dataclasses.fields(conf.Settings)]
    for name, (default, kind, meaning) in table.items():
        names = {"timedelta": timedelta, "__builtins__": {}}
        assert eval(default.strip("`"), names) == getattr(defaults, name), name
        assert kind == TYPES[conf.FIELDS[name].metadata["check"].__name__], name
        assert len(meaning) > 10, name


def test_settings_that_nothing_reads_yet_are_said_to_be_so():
    source = "".join(path.read_text() for path in (ROOT / "django_delayed").rglob("*.py"))
    read = set(re.findall(r"settings\.([A-Z_]+)", source)) | set(
        re.findall(r'size_setting.* = "(\w+)"', source)
    )
    page = {row[0].strip("`"): row[-1] for row in rows_of_tables(ROOT / "docs/settings.md") if len(row) == 4}
    for name in conf.FIELDS:
        assert ("nothing reads it yet" in page[name]) == (name not in read), name


@all_pages
def test_every_block_of_python_compiles(page):
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, f"{page.name}:{block.line}", "exec")


@all_pages
def test_every_import_from_django_delayed_is_there(page):
    for block in blocks(page):
        if block.language in ("python", "pycon"):
            imports = re.findall(
                r"^(?:>>> )?(from django_delayed[\w.]* import .*)$", block.text, re.MULTILINE
            )
            exec("\n".join(imports), {})


@all_pages
def test_every_dict_of_settings_is_one_that_is_accepted(page, settings):
    for block in blocks(page):
        for written in re.findall(
            r"^DJANGO_DELAYED = \{.*?^\}|^DJANGO_DELAYED = \{.*\}", block.text, re.M | re.S
        ):
            given = {}
            exec(f"from datetime import timedelta\n{written}", given)
            settings.DJANGO_DELAYED = given["DJANGO_DELAYED"]
            assert list(conf.problems()) == []


@all_pages
def test_every_link_to_a_file_of_ours_leads_to_it(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@all_pages
def test_every_named_test_is_one(page):
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", page.read_text()):
        assert f"def {name}(" in tests, name


@all_pages
def test_every_named_module_is_there(page):
    for name in re.findall(
        r"`((?:django_delayed|worker|databases|mail|admin|tests)/[\w/]*\.py)`", page.read_text()
    ):
        assert (ROOT / name).exists() or (ROOT / "django_delayed" / name).exists(), name


@all_pages
def test_every_flag_of_a_command_is_one(page):
    ours = {name: app for name, app in get_commands().items() if name.startswith("jobs_")}
    flags = {
        name: {
            option
            for action in load_command_class(app, name).create_parser("manage.py", name)._actions
            for option in action.option_strings
        }
        for name, app in ours.items()
    }
    for line in page.read_text().splitlines():
        commands = [name for name in re.findall(r"\bjobs_[a-z]+\b", line) if name in flags]
        for flag in re.findall(r"(?<![\w-])--[a-z][\w-]+", line):
            if commands:
                assert any(flag in flags[name] for name in commands), f"{flag} in {line}"
        assert set(re.findall(r"manage\.py (jobs_\w+)", line)) <= set(flags), line


def test_every_command_stands_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    for name in get_commands():
        assert not name.startswith("jobs_") or f"| `{name}` |" in readme, name


def test_the_payload_that_the_page_shows_is_the_one_that_is_written():
    [page] = [block for block in blocks(ROOT / "docs/life_of_a_job.md") if block.language == "json"]
    post = Post(pk=9)
    post._state.adding, post._state.db = False, "default"
    with translation.override("en"), timezone.override("Europe/Paris"):
        job = CallJob(Call(post, "send_to_twitter"))
        assert json.loads(job.dump().replace("shop.post", "blog.post")) == json.loads(page.text)


def test_the_states_of_the_page_are_those_of_the_rows():
    page = [row[0] for row in rows_of_tables(ROOT / "docs/life_of_a_job.md") if len(row) == 3]
    assert page == ["state", *State.values, "(no row)"]


def test_the_modules_of_the_package_all_stand_in_the_index():
    page = (ROOT / "docs/life_of_a_job.md").read_text()
    index = set(re.findall(r"`([\w/]+)`", page.partition("## The house")[2]))
    package = ROOT / "django_delayed"
    modules = {path.stem for path in package.glob("*.py")} | {
        path.name for path in package.iterdir() if (path / "__init__.py").exists()
    }
    assert modules - {"__init__", "__pycache__"} <= index, modules - index


def test_the_changelog_is_about_this_version():
    version = ast.literal_eval(
        re.search(r"__version__ = (.*)", Path(ROOT / "django_delayed/__init__.py").read_text())[1]
    )
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
