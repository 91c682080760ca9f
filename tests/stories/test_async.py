"""The page about async code, followed in a new project."""

import pytest
from django.db import connection
from tests.stories.markdown import QUICK_START, ROOT, Story, blocks

PAGE = ROOT / "docs/async.md"


@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="a new project is on SQLite, whatever the other tests run on"
)
def test_the_page_about_async_code_can_be_followed_in_a_new_project(tmp_path):
    project, apps, model, migrations = QUICK_START[:4]
    Story(tmp_path).tell([project, apps, model, migrations, *blocks(PAGE)])
