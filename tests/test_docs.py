"""What the pages of docs/ say about settings, commands, files, tests and code is true."""

import ast
import dataclasses
import itertools
import json
import re
from datetime import timedelta
from pathlib import Path

import django_delayed
import pytest
from django.core.management import get_commands, load_command_class
from django.dispatch import Signal
from django.utils import timezone, translation
from django_delayed import Job, conf, exceptions, mail, signals, tasks, testing
from django_delayed.calls.call import Call, CallJob
from django_delayed.jobs import hooks
from django_delayed.models import DelayedJob
from django_delayed.states import State
from tests.stories.markdown import ROOT, blocks

from shop.models import Post

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
LIFE = ROOT / "docs/life_of_a_job.md"
TYPES = {
    "count": "whole number ≥ 1",
    "integer": "whole number",
    "_boolean": "boolean",
    "_optional_boolean": "boolean or None",
    "_boolean_or_callable": "boolean or function",
    "_text": "text",
    "queue_name": "text",
    "_optional_queue_name": "text or None",
    "_optional_token": "text or None",
    "_modules": "list of texts",
    "_providers": "dict of texts",
    "_queue_attributes": "dict",
    "_aliases": "dict",
    "_recurring": "dict",
    "_enqueue_mode": '`"transaction"`, `"on_commit"`, `"immediate"` or None',
    "bounded_duration": "duration",
    "positive_duration": "duration > 0",
    "_optional_duration": "duration or None",
}


def rows_of_tables(page):
    """The cells of each row of each table of a page."""
    for line in page.read_text().splitlines():
        if line.startswith("|") and not line.startswith("|--"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def table(page, *header):
    """The rows below the header that begins with these cells, up to the next header."""
    lines = page.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {' | '.join(header)}"))
    body = itertools.takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body]


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


def test_every_setting_is_read_somewhere():
    source = "".join(path.read_text() for path in (ROOT / "django_delayed").rglob("*.py"))
    read = set(re.findall(r"settings\.([A-Z_]+)", source)) | set(
        re.findall(r'size_setting.* = "(\w+)"', source)
    )
    assert set(conf.FIELDS) <= read


@all_pages
def test_every_block_of_python_compiles(page):
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, f"{page.name}:{block.line}", "exec")


@pytest.mark.parametrize("page", ["retries", "hooks"])
def test_the_jobs_of_the_page_can_be_defined(page):
    jobs = [one for one in blocks(ROOT / f"docs/{page}.md") if one.text.startswith("# shop/jobs.py\n")]
    assert jobs
    for block in jobs:
        exec(block.text, {"__name__": "shop.jobs"})


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
            imports = "import os\nfrom datetime import timedelta\nfrom django_delayed import cron, every"
            exec(f"{imports}\n{written}", given)
            settings.DJANGO_DELAYED = given["DJANGO_DELAYED"]
            assert list(conf.problems()) == []


@all_pages
def test_every_link_to_a_file_of_ours_leads_to_it(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def headings(page):
    """The anchors of the headings of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@all_pages
def test_every_link_to_a_heading_leads_to_it(page):
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text()):
        assert anchor in headings((page.parent / target) if target else page), f"{target}#{anchor}"


def test_the_table_of_what_was_tried_has_a_row_for_each_fault_of_the_suite():
    source = "".join(path.read_text() for path in (ROOT / "tests/faults").glob("test_*.py"))
    marked = re.findall(r'pytest\.mark\.fault\("([^"]+)"\)', source)
    assert sorted(row[0] for row in table(ROOT / "docs/guarantees.md", "fault")) == sorted(marked)


@all_pages
def test_every_named_test_exists(page):
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", page.read_text()):
        assert f"def {name}(" in tests, name


@all_pages
def test_every_named_module_exists(page):
    for name in re.findall(
        r"`((?:django_delayed|worker|supervisor|databases|mail|admin|jobs|calls|serialization|execution|tests)/[\w/]*\.py)`",
        page.read_text(),
    ):
        assert (ROOT / name).exists() or (ROOT / "django_delayed" / name).exists(), name


@all_pages
def test_every_named_flag_of_a_command_exists(page):
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
        if page.parent.name == "coming_from" and line.startswith("| "):
            # On the left are the flags of another system.
            line = line.partition(" | ")[2]
        commands = [name for name in re.findall(r"\bjobs_[a-z]+\b", line) if name in flags]
        for flag in re.findall(r"(?<![\w-])--[a-z][\w-]+", line):
            if commands:
                assert any(flag in flags[name] for name in commands), f"{flag} in {line}"
        assert set(re.findall(r"manage\.py (jobs_\w+)", line)) <= set(flags), line


def test_the_figures_of_the_readme_are_those_of_the_pages():
    readme = " ".join((ROOT / "README.md").read_text().split())
    faults = table(ROOT / "docs/guarantees.md", "fault")
    assert f"{len(faults)} faults" in readme
    [kills] = [row[2:] for row in faults if row[0] == "kills"]
    assert all("jobs 10,000, workers 8, kills 50, lost 0, extra 50" in cell for cell in kills)
    measured = list(rows_of_tables(ROOT / "benchmarks/README.md"))
    [claim] = [row[3] for row in measured if row[0] == "PostgreSQL 15, 1"]
    assert f"a claim takes {claim.strip('*')} " in readme
    pages = [row for row in measured if len(row) == 7 and row[6].isdigit()]
    slowest = max(int(cell.removesuffix(" ms")) for row in pages for cell in row[2:4])
    assert f"pages take at most {slowest} ms" in readme
    [(rate, ratio)] = [
        (row[1], row[3]) for row in measured if row[0] == "PostgreSQL 15" and row[1].endswith("/s")
    ]
    assert f"`enqueue_many` writes {rate.removesuffix('/s')} jobs a second" in readme
    assert f" {float(ratio.strip('*')):.1f} " in readme


def test_every_system_check_is_on_the_settings_page():
    source = "".join(
        (ROOT / "django_delayed" / file).read_text() for file in ("checks.py", "tasks/backend.py")
    )
    listed = re.findall(
        r"^\| `django_delayed\.([EWI]\d{3})` \|", (ROOT / "docs/settings.md").read_text(), re.M
    )
    assert sorted(listed) == sorted(set(re.findall(r"\b[EWI]\d{3}\b", source)))


def test_every_command_is_on_its_page():
    page = (ROOT / "docs/commands.md").read_text()
    for name in get_commands():
        assert not name.startswith("jobs_") or f"| `{name}` |" in page, name


def test_every_signal_is_on_its_page():
    sent = [name for name, value in vars(signals).items() if isinstance(value, Signal)]
    assert [row[0].strip("`") for row in table(ROOT / "docs/signals.md", "signal")] == sent


def directives(page):
    """The names in the autodoc directives of a page, with their modules."""
    module = ""
    for kind, name in re.findall(r"^\.\. (\w+):: (\S+)$", page.read_text(), re.MULTILINE):
        if kind == "currentmodule":
            module = name
        elif name.startswith("django_delayed"):
            yield name
        else:
            yield f"{module}.{name}"


@pytest.mark.parametrize("module", [django_delayed, mail, tasks, testing], ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module):
    described = {*directives(ROOT / "docs/reference.md")}
    assert {f"{hooks.__name__}.{kind}" for kind in hooks.KINDS} <= described
    # One directive covers all errors.
    assert "django_delayed.exceptions" in described
    for name in module.__all__:
        is_error = getattr(exceptions, name, None) is getattr(module, name)
        assert is_error or f"{module.__name__}.{name}" in described, name


def test_every_number_of_the_page_about_monitoring_is_in_the_reference():
    named = set(re.findall(r"\bstats\.([a-z_]+)\(", (ROOT / "docs/monitoring.md").read_text()))
    assert {f"django_delayed.stats.{name}" for name in named} <= {*directives(ROOT / "docs/reference.md")}


def test_every_field_of_a_row_and_every_attribute_of_a_job_is_in_the_reference():
    page = ROOT / "docs/reference.md"
    fields, attributes = (
        set(re.findall(r"`(\w+)`", " ".join(row[0] for row in table(page, header))))
        for header in ("field", "attribute")
    )
    assert fields == {field.name for field in DelayedJob._meta.get_fields() if field.concrete}
    written = {name for name, kind in Job.__annotations__.items() if "ClassVar" in kind and name[0] != "_"}
    assert attributes == written - {"size_setting"}


def test_the_index_links_each_page_of_the_site_in_its_order():
    page = (ROOT / "docs/index.md").read_text()
    listed = re.findall(r"^(?:- )?\[[^]]+\]\(([^)]+)\.md\)", page, re.MULTILINE)
    shown = [
        line for block in re.findall(r"```\{toctree\}\n(.*?)```", page, re.S) for line in block.splitlines()
    ]
    assert listed == [line for line in shown if line and not line.startswith(":")]


def test_the_payload_that_the_page_shows_is_the_one_that_is_written():
    [page] = [block for block in blocks(ROOT / "docs/life_of_a_job.md") if block.language == "json"]
    post = Post(pk=9)
    post._state.adding, post._state.db = False, "default"
    with translation.override("en"), timezone.override("Europe/Paris"):
        job = CallJob(Call(post, "send_to_twitter"))
        assert json.loads(job.dump().replace("shop.post", "blog.post")) == json.loads(page.text)


def test_the_states_of_the_page_are_those_of_the_rows():
    page = [state for state, *_ in table(LIFE, "state", "is")]
    assert page == [*State.values, "(no row)"]


def test_every_module_of_the_package_is_in_the_index():
    index = set(re.findall(r"`(\w+)`", " ".join(" ".join(row) for row in table(LIFE, "module", "is for"))))
    package = ROOT / "django_delayed"
    modules = {path.stem for path in package.glob("*.py")} | {
        path.name for path in package.iterdir() if (path / "__init__.py").exists()
    }
    assert modules - {"__init__", "__pycache__"} <= index, modules - index


QUESTIONS = table(LIFE, "question", "file", "function")


def test_the_index_answers_twenty_questions():
    assert len({question for question, *_ in QUESTIONS}) >= 20
    assert all(question.endswith("?") for question, *_ in QUESTIONS)


@pytest.mark.parametrize(("question", "file", "name"), QUESTIONS, ids=[row[0] for row in QUESTIONS])
def test_every_answer_of_the_index_is_in_the_file_that_it_names(question, file, name):
    tree = ast.parse((ROOT / "django_delayed" / file.strip("`")).read_text())
    for part in name.strip("`").split("."):
        named = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        assigned = {node.target.id: node for node in tree.body if isinstance(node, ast.AnnAssign)}
        assert part in named | assigned, f"{file} has no {name}"
        tree = (named | assigned)[part]


@pytest.mark.parametrize("file", sorted({*re.findall(r"`([\w/]+\.py)`", LIFE.read_text())}))
def test_every_file_that_the_life_of_a_job_names_is_there(file):
    assert (ROOT / "django_delayed" / file).exists()


def test_the_changelog_is_about_this_version():
    version = ast.literal_eval(
        re.search(r"__version__ = (.*)", Path(ROOT / "django_delayed/__init__.py").read_text())[1]
    )
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
