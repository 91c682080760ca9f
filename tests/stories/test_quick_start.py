"""The quick start, and the guides that go on from it: pasted into a new project, block by block."""

import pytest
from django.db import connection
from tests.stories.markdown import QUICK_START, ROOT, Story, blocks, check

GUIDES = ["quick_start", "calls", "jobs", "mail"]


@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="a new project is on SQLite, whatever the other tests run on"
)
def test_the_quick_start_and_the_guides_can_be_pasted_into_a_new_project(tmp_path):
    story = Story(tmp_path)
    for guide in GUIDES:
        story.tell(blocks(ROOT / f"docs/{guide}.md"))


def test_the_readme_shows_the_beginning_of_the_quick_start():
    shown = [(block.language, block.text) for block in blocks(ROOT / "README.md")]
    assert shown == [(block.language, block.text) for block in QUICK_START[: len(shown)]]
    assert "jobs_work" in shown[-1][1]


def test_a_page_with_wrong_output_is_noticed():
    check("INFO Post #17 RUNNING\nINFO Post #17 COMPLETED after 0.02 s\n", ["Post #1 COMPLETED after 0.1 s"])
    with pytest.raises(AssertionError, match="is not in"):
        check("INFO Post #17 RUNNING\n", ["Post #1 COMPLETED after 0.1 s"])
    with pytest.raises(AssertionError, match="is not in"):
        check("second\nfirst\n", ["first", "second"])
