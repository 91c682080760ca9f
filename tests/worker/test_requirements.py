"""Where a worker cannot run, it says why at its start, and everything else works."""

import os
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django_delayed.models import DelayedJob
from django_delayed.worker.requirements import why_no_worker
from tests.blog.jobs import Plain
from tests.playground.jobs import Note

COMMANDS = ["jobs_work", "jobs_workoff"]


# Removes what Windows and WebAssembly do not have, as far as a process can do without it.
NO_POSIX = """
import faulthandler, os, signal, sys

for name in ("fork", "register_at_fork", "memfd_create", "setsid", "getuid"):
    vars(os).pop(name, None)
for name in ("SIGALRM", "SIGQUIT", "SIGKILL", "setitimer", "ITIMER_REAL", "pthread_kill", "pthread_sigmask"):
    vars(signal).pop(name, None)
del faulthandler.register
for name in ("fcntl", "mmap", "pwd", "grp", "resource", "termios"):
    sys.modules[name] = None
"""

MANAGE = """
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""

EVERYTHING_ELSE = """
import django
django.setup()

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client, override_settings
from django.urls import reverse
from django_delayed.models import DelayedJob
from shop.models import Post
from tests.blog.jobs import Plain

settings.ALLOWED_HOSTS = ["testserver"]
row = Plain.perform_later(1)
with override_settings(DJANGO_DELAYED={"DELAY_JOBS": False}):
    Plain.perform_later(2)
client = Client()
client.force_login(User.objects.create_superuser("ada"))
for page, arguments in (("changelist", []), ("change", [row.pk])):
    answer = client.get(reverse(f"admin:django_delayed_delayedjob_{page}", args=arguments))
    assert answer.status_code == 200, page
call_command("check")
call_command("jobs_check")
call_command("jobs_clear", interactive=False)
print(DelayedJob.objects.count(), "left")
"""

GEVENT = f"""
import sys
from gevent import monkey
monkey.patch_all()
{MANAGE}
"""


@pytest.mark.parametrize("patch", ["patch_all", "patch_time", "patch_thread"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_process_patched_by_gevent_is_refused_and_told_what_to_write(
    command, ledger, tmp_path, name, patch
):
    Note.perform_later(str(ledger), "done")
    (tmp_path / "manage.py").write_text(GEVENT.replace("patch_all", patch))
    run = command(name, "--sleep-delay", "0", start_with=(sys.executable, tmp_path / "manage.py"))
    assert run.ends() == 1
    assert run.said("CommandError: gevent has replaced the threads of this process")
    assert run.said(r"as with `if 'jobs_work' not in str\(sys.argv\):` before it in manage.py.$")
    assert not run.said("Traceback")
    assert ledger.lines == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_advice_of_that_message_helps(command, ledger, tmp_path, name):
    Note.perform_later(str(ledger), "done")
    unless = "if 'jobs_work' not in str(sys.argv): monkey.patch_all()"
    (tmp_path / "manage.py").write_text(GEVENT.replace("monkey.patch_all()", unless))
    run = command(name, "--sleep-delay", "0", start_with=(sys.executable, tmp_path / "manage.py"))
    assert run.ends() == 0, run.output
    assert ledger.lines == ["done"]


def test_gevent_may_be_imported_if_it_patches_nothing(command, ledger, tmp_path):
    Note.perform_later(str(ledger), "done")
    (tmp_path / "manage.py").write_text(GEVENT.replace("monkey.patch_all()", ""))
    run = command("jobs_work", "--sleep-delay", "0", start_with=(sys.executable, tmp_path / "manage.py"))
    assert run.ends() == 0, run.output
    assert ledger.lines == ["done"]


@pytest.mark.parametrize("patched", [{}, {"thread": True}, {"socket": True}], ids=str)
def test_a_process_patched_by_eventlet_is_refused_too(monkeypatch, patched):
    monkeypatch.setitem(sys.modules, "eventlet.patcher", SimpleNamespace(already_patched=patched))
    assert why_no_worker().startswith("eventlet has replaced") == bool(patched)


def test_without_posix_everything_but_a_worker_works(child_environment):
    run = subprocess.run(
        [sys.executable, "-c", NO_POSIX + EVERYTHING_ELSE],
        env=child_environment | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "0 left"


@pytest.mark.parametrize("name", COMMANDS)
def test_without_posix_a_worker_is_refused_and_told_what_to_do(child_environment, name):
    run = subprocess.run(
        [sys.executable, "-c", NO_POSIX + MANAGE, name], env=child_environment, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert run.stderr.startswith("CommandError: A worker needs POSIX signals and processes")
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.django_db
def test_without_a_folder_for_its_page_of_memory_a_worker_is_refused(monkeypatch, name):
    def refuse():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    Plain.perform_later("stays")
    with pytest.raises(CommandError, match=r"No usable temporary .* Let TMPDIR name a folder"):
        call_command(name)
    assert DelayedJob.objects.count() == 1
