"""The page about Django's tasks, followed in a new project."""

import django
import pytest
from django.db import connection
from tests.stories.markdown import QUICK_START, ROOT, Block, Story, blocks

pytestmark = pytest.mark.skipif(
    connection.vendor != "sqlite", reason="a new project is on SQLite, whatever the other tests run on"
)
# The page shows the rules of a task, but not their effect.
ENQUEUE_ABOUT_NOTHING = """
>>> from blog.reports import announce
>>> announce.enqueue(0).status
TaskResultStatus.READY
"""
DISCARDED = """
$ python manage.py jobs_workoff
2 jobs performed in 0.1 s, 0 failed, 1 discarded
"""


def test_the_page_about_tasks_can_be_followed_in_a_new_project(tmp_path):
    story = Story(tmp_path)
    story.tell([*QUICK_START[:4], *blocks(ROOT / "docs/tasks.md")])
    if django.VERSION >= (6, 0):
        story.tell([Block("pycon", ENQUEUE_ABOUT_NOTHING, 0), Block("console", DISCARDED, 0)])
