"""The README, done by a newcomer: pasted into a new project, block by block, with a worker of its own."""

import pytest
from django.db import connection
from tests.stories.markdown import ROOT, Story, blocks, check

pytestmark = pytest.mark.skipif(
    connection.vendor != "sqlite", reason="a new project is on SQLite, whatever the other tests run on"
)


def test_the_readme_can_be_pasted_into_a_new_project(tmp_path):
    Story(tmp_path).tell(blocks(ROOT / "README.md"))


def test_a_page_that_says_what_does_not_happen_is_noticed():
    check("INFO Post #17 RUNNING\nINFO Post #17 COMPLETED after 0.02 s\n", ["Post #1 COMPLETED after 0.1 s"])
    with pytest.raises(AssertionError, match="is not in"):
        check("INFO Post #17 RUNNING\n", ["Post #1 COMPLETED after 0.1 s"])
    with pytest.raises(AssertionError, match="is not in"):
        check("second\nfirst\n", ["first", "second"])
