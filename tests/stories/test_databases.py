"""The queue on a database of its own, set up as docs/databases.md says."""

import pytest
from django.db import connection
from tests.stories.markdown import QUICK_START, ROOT, Block, Story, blocks

pytestmark = pytest.mark.skipif(
    connection.vendor != "sqlite", reason="a new project is on SQLite, whatever the other tests run on"
)
WORK = """
>>> from blog.models import Post
>>> from django.db import connections, transaction
>>> with transaction.atomic():
...     row = Post.objects.create(title="Hello").delay().send_to_twitter()
...     row.pk is None
True
>>> row._state.db
queue
>>> "django_delayed_delayedjob" in connections["default"].introspection.table_names()
False
"""
WORKOFF = """
$ python manage.py jobs_workoff
On Twitter: Hello
1 job performed in 0.0 s, 0 failed
$ python manage.py jobs_check
No job is late; none is due.
"""


def test_the_queue_can_have_a_database_of_its_own(tmp_path):
    project, apps, model = QUICK_START[:3]
    migrations = Block("console", "$ python manage.py makemigrations blog", 0)
    page = blocks(ROOT / "docs/databases.md", "The queue on a database of its own")
    work = [Block("pycon", WORK, 0), Block("console", WORKOFF, 0)]
    Story(tmp_path).tell([project, apps, model, *page[:2], migrations, page[2], *work])
