"""Has the code changed that this worker runs?"""

import os
import sys
import time

from django_delayed.worker.reload import CodeWatch


def test_a_file_saved_since_the_start_is_news_and_one_of_the_future_is_not_yet(tmp_path, monkeypatch):
    module = tmp_path / "just_loaded.py"
    module.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("just_loaded")
    start = time.time() + 10
    watch = CodeWatch(since=start)
    assert not watch.has_changed()
    os.utime(module, (start + 3600, start + 3600))
    assert not watch.has_changed()
    watch.since = start - 20
    os.utime(module, (start - 15, start - 15))
    assert watch.has_changed()
    watch.since = start
    module.unlink()
    assert watch.has_changed()
    sys.modules.pop("just_loaded")
