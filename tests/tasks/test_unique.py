"""Unique tasks: the result of a duplicate is that of the task that waits."""

from dataclasses import replace

import pytest
from django_delayed import Unique
from django_delayed.models import DelayedJob
from tests.blog import tasks
from tests.blog.work import work_off
from tests.tasks.framework import InvalidTask, TaskResultStatus

pytestmark = pytest.mark.django_db


@pytest.fixture
def unique(monkeypatch):
    """Make a task of `tests.blog` unique in this way, in its module too."""

    def make(how=True, name="add"):
        made = replace(getattr(tasks, name), unique=how)
        monkeypatch.setattr(tasks, name, made)
        return made

    return make


def test_a_duplicate_returns_the_result_of_the_waiting_task(unique):
    task = unique()
    first, second = task.enqueue(1, 2), task.using(priority=5, queue_name="default").enqueue(1, 2)
    assert second.id == first.id
    assert task.enqueue(2, 1).id != first.id
    assert DelayedJob.objects.count() == 2
    work_off()
    second.refresh()
    assert (second.status, second.return_value) == (TaskResultStatus.SUCCESSFUL, 3)
    assert task.enqueue(1, 2).id != first.id


def test_a_replaced_task_is_removed(unique):
    task = unique(Unique(lambda job: job.args[0], on_duplicate="replace"))
    first, second = task.enqueue(1, 2), task.enqueue(1, 3)
    assert [str(pk) for pk in DelayedJob.objects.values_list("pk", flat=True)] == [second.id] != [first.id]


@pytest.mark.parametrize("how", ["add", 1, ["key"]])
def test_a_task_with_an_invalid_unique_option_is_refused(unique, how):
    with pytest.raises(InvalidTask, match="unique must be"):
        unique(how).enqueue(1, 2)
