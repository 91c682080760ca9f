"""Whether a source file near the code of the project has changed."""

import sys

from django_delayed.supervisor.sources import SourceWatch


def test_a_watch_over_sources_sees_files_that_could_not_be_loaded(tmp_path, monkeypatch):
    (tmp_path / "neighbour.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("neighbour")
    watch = SourceWatch()
    watch._checked_at -= 10
    assert not watch.has_changed()
    (tmp_path / "broken.py").write_text("class (")
    assert not watch.has_changed()  # it has just looked
    watch._checked_at -= 10
    assert watch.has_changed()
    sys.modules.pop("neighbour")
