"""Whether the code that this worker runs has changed."""

import gettext
import os
import struct
import sys
import time

import pytest
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.autoreload import autoreload_started
from django_delayed.worker import reload
from django_delayed.worker.reload import CodeWatch


def write_catalogue(folder, translated):
    """Write compiled translations of one message, as msgfmt does; returns their path."""
    texts = [b"", b"a job", b"Content-Type: text/plain; charset=UTF-8\n", translated.encode()]
    at, entries = 28 + 8 * len(texts), []
    for text in texts:
        entries += [len(text), at]
        at += len(text) + 1
    path = folder / "de" / "LC_MESSAGES" / "django.mo"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack("<7I8I", 0x950412DE, 0, 2, 28, 44, 0, 0, *entries)
    path.write_bytes(head + b"".join(text + b"\0" for text in texts))
    return path


def start_watch():
    """A watch that began half a minute ago, and to which edits of this process's modules are no change."""
    watch = CodeWatch(since=time.time() + 3600)
    watch._others_since = time.time() - 30
    return watch


@pytest.fixture
def saved():
    """Make a file that was just written so many seconds old."""

    def save(path, age):
        os.utime(path, (time.time() - age,) * 2)

    return save


def test_a_file_saved_since_the_start_is_a_change_and_one_with_a_time_in_the_future_is_not_yet(
    tmp_path, monkeypatch
):
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


def test_it_is_due_a_second_after_each_look(monkeypatch):
    assert reload.LOOK_EVERY == 1.0
    # On a busy machine, a look takes longer than that.
    monkeypatch.setattr(reload, "LOOK_EVERY", 3600)
    watch = CodeWatch(since=time.time())
    assert watch.is_due
    watch.has_changed()
    assert not watch.is_due
    watch._look_at -= 3600
    assert watch.is_due


@pytest.mark.parametrize("place", ["of the project", "of a folder below"])
def test_a_template_that_was_saved_is_read_again_without_a_new_process(settings, tmp_path, saved, place):
    name = "mail.txt" if place == "of the project" else "blog/mail.txt"
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("old")
    saved(path, age=60)
    watch = start_watch()
    assert render_to_string(name) == "old"
    path.write_text("new")
    assert render_to_string(name) == "old"
    saved(path, age=15)
    assert not watch.has_changed()
    assert render_to_string(name) == "new"


def test_translations_that_were_compiled_are_read_again_without_a_new_process(settings, tmp_path, saved):
    settings.LOCALE_PATHS = [tmp_path]
    saved(write_catalogue(tmp_path, "alt"), age=60)
    watch = start_watch()
    try:
        with translation.override("de"):
            assert translation.gettext("a job") == "alt"
        saved(write_catalogue(tmp_path, "neu"), age=15)
        assert not watch.has_changed()
        with translation.override("de"):
            assert translation.gettext("a job") == "neu"
    finally:
        gettext._translations.clear()


def test_another_file_that_the_project_has_watched_needs_a_new_process(tmp_path, saved):
    def watch_rules(sender, **kwargs):
        sender.watch_dir(tmp_path, "*.yaml")

    rules = tmp_path / "rules.yaml"
    rules.write_text("old")
    saved(rules, age=60)
    autoreload_started.connect(watch_rules)
    try:
        watch = start_watch()
    finally:
        autoreload_started.disconnect(watch_rules)
    assert not watch.has_changed()
    rules.write_text("new")
    watch._others_since = time.time() - 30
    saved(rules, age=15)
    assert watch.has_changed()
