"""The pages about coming from another system: their examples run, and the names in their tables exist."""

import ast
import builtins
import io
import keyword
import re
import shutil
import tokenize
from functools import cache

import pytest
from django.conf import global_settings
from django.core.management import get_commands
from django.db import connection
from tests.stories.markdown import QUICK_START, ROOT, Story, blocks
from tests.test_docs import rows_of_tables

PAGES = sorted(ROOT.glob("docs/coming_from/*.md"))
WITH_EXAMPLES = [page for page in PAGES if blocks(page)]
FOR_A_SHELL = ("jobs_", "manage.py ", "pip ", "python ", "worker:", "--", "django_delayed.", "heroku ")
# Names in the code of a reader that are not in the left column.
OF_READERS = {
    *("CleanUpOrderJob", "HardJob", "MailJob", "NewsletterJob", "Notify", "Post", "Resize"),
    *("notify", "order", "orders", "photo", "post", "posts", "publish_at", "user"),
}
# Names that are not in the sources of the package.
ELSEWHERE = {"DJANGO_DELAYED", "QUEUE", "QUEUES", "hours", "weeks"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project after the first blocks of the quick start, to be copied."""
    story = Story(tmp_path_factory.mktemp("quick_start"))
    story.tell(QUICK_START[:4])
    return story.project


@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="a new project is on SQLite, whatever the other tests run on"
)
@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
def test_the_example_of_the_page_does_what_it_says(page, project, tmp_path):
    story = Story(tmp_path)
    shutil.copytree(project, story.project, dirs_exist_ok=True)
    story.tell(blocks(page))


def codes(page):
    """Each piece of Python in the right columns of the tables of a page, with the left cell of its row."""
    for left, *right in rows_of_tables(page):
        for code in re.findall(r"`([^`]+)`", " ".join(right)):
            if not code.startswith(FOR_A_SHELL) and not keyword.iskeyword(code):
                yield left, code


def names_in(source):
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME}


@cache
def names_of_the_package():
    return {name for path in (ROOT / "django_delayed").rglob("*.py") for name in names_in(path.read_text())}


def as_source(code):
    """The code as valid Python, with the parts that the page leaves out."""
    source = code.replace("…", "...")
    source = f"post{source}" if source.startswith(".") else source
    if source.startswith("@"):
        return f"{source}\ndef f(): ..."
    if source.startswith("class "):
        return f"{source}: ..."
    if re.match(r"(def )?\w+\(self\b", source):
        return f"def {source.removeprefix('def ').partition(':')[0]}: ..."
    if source.startswith("try: "):
        return f"{source}\nfinally: ..."
    if re.match(r'"\w+": ', source):
        return f"{{{source}}}"
    return f"f({source})" if re.fullmatch(r"\w+=[^=].*", source) else source


def names_that_are_there(page):
    examples = [block.text for block in blocks(page) if block.language in ("python", "pycon")]
    ours = names_of_the_package().union(dir(builtins), keyword.kwlist, dir(global_settings))
    return ours.union(OF_READERS, ELSEWHERE, "f", *(re.findall(r"\w+", text) for text in examples))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_right_columns_have_valid_python_with_existing_names(page):
    known = names_that_are_there(page)
    for left, code in codes(page):
        source = as_source(code)
        ast.parse(source, code)
        # Names in the left column are the reader's own.
        assert names_in(source) <= known.union(re.findall(r"[^\W_]+", left), re.findall(r"\w+", left)), code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_on_the_page_exists(page):
    assert set(re.findall(r"\bjobs_[a-z_]+\b", page.read_text())) <= set(get_commands())
