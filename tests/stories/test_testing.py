"""The page about testing, followed in a new project, and the message that it shows."""

import re

import pytest
from django.db import connection
from django_delayed.testing import assert_enqueued
from tests.blog.models import Post
from tests.stories.markdown import QUICK_START, ROOT, Block, Story, blocks

PAGE = ROOT / "docs/testing.md"
RUN = Block("console", "$ python manage.py test -v 2\nOK\n", 0)


@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="a new project is on SQLite, whatever the other tests run on"
)
def test_the_examples_of_the_page_are_tests_that_pass(tmp_path):
    project, apps, model = QUICK_START[:3]
    calls = blocks(ROOT / "docs/calls.md")
    top, rename = [block for block in calls if "handle_asynchronously" in block.text]
    migrations = Block("console", "$ python manage.py makemigrations blog", 0)
    Story(tmp_path).tell([project, apps, model, top, rename, migrations, *blocks(PAGE), RUN])


@pytest.mark.django_db
def test_the_message_of_the_page_is_the_printed_one():
    [page] = [block.text for block in blocks(PAGE) if block.language == "text"]
    Post.objects.create(title="Hello").delay().send_to_twitter()
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(Post.send_to_twitter, queue="tweets")
    printed = f"AssertionError: {caught.value}"
    assert re.sub(r"[\d.]+", "0", printed) == re.sub(r"[\d.]+", "0", page.strip())
