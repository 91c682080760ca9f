"""jobs_pause and jobs_resume keep workers from claiming jobs of a queue, and let them again."""

import logging
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone
from django_delayed import claiming
from django_delayed.models import DelayedJob, PausedQueue

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def operator(monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "ann")


def paused():
    return sorted(PausedQueue.objects.values_list("queue", flat=True))


def waiting(queue):
    return DelayedJob.objects.create(name="job", payload="{}", queue=queue)


def test_queues_are_paused_and_resumed(capsys, caplog):
    caplog.set_level(logging.INFO, "django_delayed")
    waiting("mail")
    waiting("images")
    call_command("jobs_pause", "mail", "images")
    assert paused() == ["images", "mail"]
    assert PausedQueue.objects.first().paused_by == "ann"
    assert capsys.readouterr().out.splitlines()[-2:] == ["mail: paused", "images: paused"]
    assert "Queues paused: mail, images, by ann in a terminal" in caplog.text
    call_command("jobs_resume", "mail")
    assert paused() == ["images"]
    assert capsys.readouterr().out.splitlines()[-1:] == ["mail: resumed"]
    assert "Queues resumed: mail, by ann in a terminal" in caplog.text


def test_all_paused_queues_are_resumed(capsys):
    call_command("jobs_pause", "mail", "images")
    call_command("jobs_resume", "--all")
    assert paused() == []
    assert capsys.readouterr().out.splitlines()[-2:] == ["images: resumed", "mail: resumed"]
    call_command("jobs_resume", "--all")


def test_pausing_or_resuming_a_queue_again_says_so_and_is_no_error(capsys, caplog):
    caplog.set_level(logging.INFO, "django_delayed")
    call_command("jobs_pause", "mail")
    caplog.clear()
    call_command("jobs_pause", "mail")
    assert capsys.readouterr().out.splitlines()[-1:] == ["mail: paused already"]
    assert "Queues paused" not in caplog.text
    call_command("jobs_resume", "feeds")
    assert capsys.readouterr().out.splitlines()[-1:] == ["feeds: is not paused"]


def test_an_unknown_queue_is_paused_with_a_warning_and_resumed_by_all_without_one(caplog):
    call_command("jobs_pause", "mial")
    assert paused() == ["mial"]
    assert "has a queue 'mial'" in caplog.text
    caplog.clear()
    call_command("jobs_resume", "--all")
    assert "has a queue" not in caplog.text
    call_command("jobs_resume", "mial")
    assert "has a queue 'mial'" in caplog.text


@pytest.mark.parametrize("queues", [[], ["m*"], ["mail,images"], [""], ["x" * 256]])
def test_an_invalid_name_of_a_queue_is_refused(queues):
    for name in ("jobs_pause", "jobs_resume"):
        with pytest.raises(CommandError):
            call_command(name, *queues)
    assert paused() == []


def test_names_and_all_cannot_be_given_together():
    with pytest.raises(CommandError, match="not both"):
        call_command("jobs_resume", "mail", "--all")


def test_jobs_check_warns_of_a_paused_queue_with_waiting_jobs(capsys):
    claiming.forget_lanes()
    waiting("mail")
    call_command("jobs_pause", "mail", "images")
    call_command("jobs_check")
    assert "Paused, with waiting jobs until jobs_resume: mail." in capsys.readouterr().err
    call_command("jobs_check", "--queues", "images")
    assert "Paused" not in capsys.readouterr().err
    DelayedJob.objects.update(run_at=timezone.now() - timedelta(hours=1))
    claiming.forget_lanes()
    with pytest.raises(CommandError, match="A job has been due"):
        call_command("jobs_check")
